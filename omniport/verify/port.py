"""Finding the port that ``verify`` was pointed at, by its manifest.  Imports nothing of the port."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from omniport.errors import OmniportError
from omniport.recorded import recorded_port
from omniport.strict_toml import read_toml
from omniport.target.manifest import load
from omniport.target.paths import STATE

MANIFESTS = STATE
#: form of a port whose reference is a repository's own code
CUSTOM = "custom"


@dataclass(frozen=True)
class Port:
    """A port on disk.

    ``root`` holds ``.omniport``.  ``kind`` says whose code runs: ``tree`` (``root`` holds the package ``vllm_omni``),
    ``plugin`` (``root`` holds the port's own package), ``installed`` (the port is part of the installed vllm_omni).
    ``paths`` go first on ``sys.path``.  ``form`` is how the model was named; with ``diffusers`` the configs are the
    classes' own defaults and nothing was published.  ``entry_point`` is the function by which a plugin
    registers its package with vLLM-Omni, as ``package:function``.  ``denoiser`` is the component that was classified as
    the transformer, empty where the manifest's plan does not say.
    """

    root: Path
    manifest_path: Path
    name: str
    kind: Literal["tree", "plugin", "installed"]
    paths: tuple[Path, ...]
    architecture: str
    pipeline_module: str
    pipeline_class: str
    transformer_module: str
    transformer_class: str
    reference_pipeline: str
    reference_transformer: str
    pre_process: str | None
    post_process: str | None
    model_index: dict[str, Any]
    configs: dict[str, dict[str, Any]]
    files: tuple[str, ...]
    form: str = ""
    entry_point: str | None = None
    denoiser: str = ""

    @property
    def evidence_path(self) -> Path:
        """Where the evidence of this port is kept."""
        return self.manifest_path.with_name(f"{self.name}.evidence.json")

    def sources(self) -> list[Path]:
        """The files that make up the port: those the manifest lists, and its two modules where they are found."""
        found = {self.root / f for f in self.files if (self.root / f).is_file()}
        for module in (self.pipeline_module, self.transformer_module):
            relative = Path(*module.split(".")).with_suffix(".py")
            found.update(base / relative for base in self.paths if (base / relative).is_file())
        return sorted(found)

    def digest(self) -> str:
        """sha256 over names and contents of :meth:`sources` and the configs the proof is built from."""
        total = hashlib.sha256(json.dumps([self.model_index, self.configs], sort_keys=True).encode())
        for path in self.sources():
            total.update(path.relative_to(self.root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
        return total.hexdigest()


def find_port(where: Path, name: str | None = None) -> Port:
    """Read the manifest of the port at ``where``.

    Args:
        where: a manifest, the folder that holds ``.omniport`` (a tree's root, or a plugin's), or the port's own.
        name: which port, where the folder holds several.

    Raises:
        OmniportError: there is no such port, or its manifest cannot be used; the message says what to do.
    """
    if where.is_file():
        manifest = where
    else:
        base, chosen = recorded_port(where, name)
        manifest = base / chosen.path
    if manifest.parent.name != MANIFESTS or manifest.suffix != ".json":
        raise OmniportError(
            f"{manifest} is no manifest; give the folder that holds {MANIFESTS}/<name>.json, or that file"
        )
    known = load(manifest)
    root = manifest.resolve().parent.parent
    kind, paths = _kind(root, known.port.pipeline_module)
    return Port(
        root=root,
        manifest_path=manifest.resolve(),
        name=known.name,
        kind=kind,
        paths=paths,
        model_index=known.model_index,
        configs=known.configs,
        entry_point=_entry_point(root, known.port.pipeline_module) if kind == "plugin" else None,
        form=str(known.inputs.get("form", "")),
        denoiser=_denoiser(known.plan),
        files=tuple(f.path for f in known.files if f.verb == "create"),
        **asdict(known.port),
    )


def _denoiser(plan: dict[str, Any]) -> str:
    """The first component of the plan whose role is the transformer's."""
    model = plan.get("model")
    components = model.get("components") if isinstance(model, dict) else None
    for entry in components if isinstance(components, list) else ():
        if isinstance(entry, dict) and entry.get("role") == "dit" and isinstance(entry.get("name"), str):
            return str(entry["name"])
    return ""


def _entry_point(root: Path, pipeline_module: str) -> str | None:
    """The function of the port's own package that the plugin's pyproject.toml declares for vLLM-Omni."""
    file = root / "pyproject.toml"
    if not file.is_file():
        return None
    try:
        points = read_toml(file)["project"]["entry-points"]["vllm_omni.general_plugins"]
    except (OmniportError, KeyError, TypeError):
        return None
    package = pipeline_module.partition(".")[0]
    return next((str(v) for v in points.values() if str(v).partition(":")[0].partition(".")[0] == package), None)


def _kind(root: Path, pipeline_module: str) -> tuple[Literal["tree", "plugin", "installed"], tuple[Path, ...]]:
    top = pipeline_module.partition(".")[0]
    tree = (root / "vllm_omni" / "__init__.py").is_file()
    if top == "vllm_omni":
        return ("tree", (root,)) if tree else ("installed", ())
    for base in (root, root / "src"):
        if (base / top / "__init__.py").is_file() or (base / f"{top}.py").is_file():
            return "plugin", ((base,) if base == root or not tree else (base, root))
    raise OmniportError(f"{root} holds no package {top!r}, which the manifest names as the port's; scaffold it again")
