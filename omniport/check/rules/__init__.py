"""The rules, one file each: ``op<nnn>_<slug>.py`` defines one subclass of Rule with code ``OP<nnn>``."""

from __future__ import annotations

import functools
import importlib
import os
from pathlib import Path

from omniport.check.model import Rule

#: what codes start with -> the family; the longest start counts
FAMILIES = {
    "OP0": "The check itself",
    "OP1": "Weights and mapping",
    "OP15": "Loading",
    "OP16": "Loading",
    "OP2": "Tensor parallelism",
    "OP3": "Sequence parallelism",
    "OP4": "Guidance and requests",
    "OP5": "Compilation, caches, offload and HSDP",
    "OP6": "LoRA and quantisation",
    "OP7": "Device and dtype",
    "OP8": "Attention",
    "OP90": "Configuration",
    "OP92": "Registry",
    "OP94": "Docs",
    "OP96": "Hygiene",
    "OP97": "Custom repositories",
}


@functools.cache
def rule_codes() -> tuple[str, ...]:
    """The codes of all rules in their order, read from the names of the files."""
    names = (entry.name for entry in os.scandir(__path__[0]))
    return tuple(sorted(n.partition("_")[0].upper() for n in names if n.startswith("op") and n.endswith(".py")))


def family(code: str) -> str:
    """The family that a code belongs to."""
    return next(FAMILIES[code[:length]] for length in (4, 3) if code[:length] in FAMILIES)


@functools.cache
def load_rules() -> dict[str, Rule]:
    """Every rule by code, in the order of the codes.

    Raises:
        RuntimeError: a rule file does not define exactly one rule of its own code.
    """
    rules: dict[str, Rule] = {}
    for file in sorted(Path(__path__[0]).glob("op*.py")):
        module = importlib.import_module(f"{__name__}.{file.stem}")
        own = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]
        found = [v for v in own if issubclass(v, Rule)]
        code = file.stem.partition("_")[0].upper()
        if len(found) != 1 or found[0].code != code:
            raise RuntimeError(f"{file.name} must define exactly one rule, with code {code}")
        rules[code] = found[0]()
    return rules
