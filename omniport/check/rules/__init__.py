"""The rules, one file each: ``op<nnn>_<slug>.py`` defines one subclass of Rule with code ``OP<nnn>``.

The first digit is the family: 1 weights, 2 tensor parallelism, 3 sequence parallelism, 4 guidance and request,
5 compile and caches, 6 LoRA and quantisation, 7 device and dtype.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil

from omniport.check.model import Rule


@functools.cache
def load_rules() -> dict[str, Rule]:
    """Every rule by code, in the order of the codes.

    Raises:
        RuntimeError: a rule file does not define exactly one rule of its own code.
    """
    rules: dict[str, Rule] = {}
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda i: i.name):
        if not info.name.startswith("op"):
            continue
        module = importlib.import_module(f"{__name__}.{info.name}")
        own = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]
        found = [v for v in own if issubclass(v, Rule)]
        code = info.name.partition("_")[0].upper()
        if len(found) != 1 or found[0].code != code:
            raise RuntimeError(f"{info.name}.py must define exactly one rule, with code {code}")
        rules[code] = found[0]()
    return rules
