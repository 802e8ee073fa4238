"""A vLLM-Omni tree as the target of a port."""

from __future__ import annotations

import importlib.util
import re
import shlex
from dataclasses import field
from pathlib import Path

from omniport.errors import OmniportError
from omniport.plan.model import Decision, Why
from omniport.records import dataclass
from omniport.target import features, journal
from omniport.target.registry import REGISTRY_FILE, RegistryView, read_registry
from omniport.target.write import require_writable

PACKAGE = "vllm_omni"
MODELS_FOLDER = f"{PACKAGE}/diffusion/models"
_CLONE = "`git clone https://github.com/vllm-project/vllm-omni"


@dataclass(frozen=True)
class Target:
    """What a port is written for.

    ``root`` is the folder that holds the package ``package``; both are None where no vLLM-Omni is at hand and the
    newest known generation is ``assumed``.  ``evidence`` says for each feature how it was found.
    """

    root: Path | None
    package: Path | None
    version: str
    features: features.TargetFeatures
    registry: RegistryView
    evidence: tuple[Decision, ...] = field(repr=False, default=())
    assumed: bool = False


def open_target(path: Path, *, writable: bool = False) -> Target:
    """The tree at ``path``: a checkout, a folder that holds the package ``vllm_omni``, or the package itself.

    With ``writable`` an interrupted earlier write is undone first, and the folders a port goes to must be writable.

    Raises:
        OmniportError: this is no vLLM-Omni tree; the message says what was looked for.
    """
    root = path.absolute()
    if root.name == PACKAGE and (root / REGISTRY_FILE).is_file():
        root = root.parent
    package = root / PACKAGE
    if not path.exists():
        raise OmniportError(f"{path}: no such folder; {_CLONE} {shlex.quote(str(path))}` makes a tree there")
    if not (package / REGISTRY_FILE).is_file():
        around = next((p for p in root.parents if (p / PACKAGE / REGISTRY_FILE).is_file()), None)
        if around is not None:
            raise OmniportError(f"{path} is a folder inside of the vLLM-Omni tree {around}; give that tree")
        raise OmniportError(
            f"{path} is no vLLM-Omni tree: looked for {PACKAGE}/{REGISTRY_FILE} in it; "
            f"give a folder that holds the package {PACKAGE}, or a checkout, as {_CLONE}` makes one"
        )
    if writable:
        require_writable(root, [package / "diffusion" / "models", package / REGISTRY_FILE, package / "diffusion"])
        journal.recover(root)
    return _read(root, package)


def installed_target() -> Target:
    """The target of a plugin: the installed vLLM-Omni, or the newest known generation where none is installed.

    It is found without being imported, and never written to.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for location in spec.submodule_search_locations or () if spec else ():
        package = Path(location)
        if (package / REGISTRY_FILE).is_file():
            return _read(package.parent, package)
    why = Why("no vLLM-Omni is installed here, so the newest known generation is assumed")
    registry = RegistryView(f"{PACKAGE}/{REGISTRY_FILE}")
    evidence = (Decision("target", "assumed", why),)
    return Target(None, None, "unknown", features.DEFAULT, registry, evidence, assumed=True)


def _read(root: Path, package: Path) -> Target:
    flags, evidence = features.probe(package)
    return Target(root, package, _version(root, package), flags, read_registry(package), evidence)


def _version(root: Path, package: Path) -> str:
    """What the tree says its version is; it decides nothing."""
    for file in ("_version.py", "version.py", "__init__.py"):
        path = package / file
        if path.is_file():
            text = path.read_text("utf-8", errors="replace")
            if found := re.search(r"^__version__\b[^'\"\n]*=\s*['\"]([\w.+!-]{1,64})['\"]", text, re.M):
                return found.group(1)
    infos = sorted(root.glob("vllm_omni-*.dist-info"))
    return infos[-1].name.removeprefix("vllm_omni-").removesuffix(".dist-info") if infos else "unknown"
