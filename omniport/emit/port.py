"""The files of a port: modules with their headers, the registry row or the plugin package, and the manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omniport import __version__
from omniport.beside import Beside
from omniport.emit.edits import Context, all_edits, cache_enabler, metadata
from omniport.emit.format import LintFinding, format_files, ruff_settings
from omniport.emit.names import check_name
from omniport.emit.render import comment, render
from omniport.emit.split import CACHED_BLOCKS, split_cached_blocks
from omniport.emit.tree_files import tree_files
from omniport.errors import OmniportError
from omniport.plan.model import PortPlan
from omniport.source.toplevel import Definitions
from omniport.target import manifest
from omniport.target.manifest import FileEntry, PortEntry
from omniport.target.parsed import parsed
from omniport.target.paths import sha256
from omniport.target.pristine import pristine_dumps, pristine_path
from omniport.target.registry import POST, PRE, RegistryRow, read_text
from omniport.target.registry_edit import RowEdit, edit_registry
from omniport.target.tree import MODELS_FOLDER, Target
from omniport.target.write import FileChange

_MODELS_PACKAGE = MODELS_FOLDER.replace("/", ".")


def port_files(
    plan: PortPlan,
    transformer_code: str,
    pipeline_code: str,
    target: Target,
    *,
    plugin: bool,
    force: bool = False,
    notes: list[LintFinding] | None = None,
    model_id: str = "",
    config: Mapping[str, Any] | None = None,
    said: list[str] | None = None,
    others: Mapping[str, str] | None = None,
    proven: Callable[[Path, str], Mapping[str, str]] = lambda root, name: {},
    beside: Beside | None = None,
) -> list[FileChange]:
    """The files of the port, formatted, without its records (:func:`record_files`).

    In a tree these are the model folder, tests and recipe, and the edited files of the tree, in a plugin a whole
    package.  Both code texts start with the copyright comment of their source, if it has one.  ``force`` allows
    replacing the registry row of a port that is not ours.  Style findings that ruff cannot fix are appended to
    ``notes``, what could not be made to ``said``.  ``model_id`` is the id of a published checkpoint, if one is known,
    ``config`` the published values of the transformer's constructor.
    ``others`` are further modules of the port by name, or files of the tree by path.  ``proven`` tells the state of
    each feature of the port on disk, by the tree's root and the port's name; it is asked if the port stays as it is.
    ``beside`` is where templates are filled.

    Raises:
        OmniportError: the name or the registry row belongs to somebody else, the tree cannot take plugins, or the code
            has an error that ruff finds (an undefined name, a redefinition).
    """
    check_name(plan.name)
    manifest.check_port(port_entry(plan, plugin=plugin))
    registry = None if plugin else _registry(plan, target, force)
    context = None if plugin else tree_context(plan, target, model_id, config or {})
    asked = (beside or Beside(alone=True)).ask(_texts, plan, transformer_code, pipeline_code, target, context, others)
    files, missing = asked.result()
    said.extend(missing) if said is not None else None
    folder = _folder(plan, plugin)
    python = {path: text for path, text in files.items() if path.endswith(".py")}
    root = None if plugin else target.root
    try:
        formatted, findings = format_files(python, ruff_settings(root), root)
    except OmniportError:
        _check_parsed(plan, transformer_code, pipeline_code)  # what is no Python is said to be none, not by ruff
        raise
    _check_defined(plan, *(formatted[f"{folder}/{module}.py"] for module in _named(plan)))
    errors = [f for f in findings if f.code[0] == "F" or f.code in ("syntax", "invalid-syntax") or f.code == "E999"]
    if errors:
        lines = "\n".join(f"  {f.path}:{f.line}: {f.code} {f.message}" for f in errors)
        raise OmniportError(f"the code made for {plan.name} has errors:\n{lines}")
    if notes is not None:
        notes.extend(findings)
    made = [FileChange(path, formatted.get(path, text), "create") for path, text in sorted(files.items())]
    if context is None or registry is None:
        return made
    unchanged = all(_on_disk(context.root / change.path) == change.content for change in made)
    states = proven(context.root, plan.name) if unchanged else {}
    return made + tree_edits(replace(context, states=states), registry)


def _texts(
    plan: PortPlan,
    transformer_code: str,
    pipeline_code: str,
    target: Target,
    context: Context | None,
    others: Mapping[str, str] | None,
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The files of the port as its templates make them, and what could not be made; without ``context`` a plugin."""
    files = _modules(plan, transformer_code, pipeline_code, target, context is None)
    folder = _folder(plan, context is None)
    for module, code in (others or {}).items():
        files[module if "/" in module else f"{folder}/{module}.py"] = _generated(target, code)
    if context is None:
        return files | _plugin(plan, target), ()
    beside, missing = tree_files(context, _spdx(target))
    return files | beside, missing


def _folder(plan: PortPlan, plugin: bool) -> str:
    return package_name(plan.name) if plugin else f"{MODELS_FOLDER}/{plan.name}"


def _on_disk(path: Path) -> str | None:
    return path.read_bytes().decode("utf-8", errors="replace") if path.is_file() else None


def tree_context(plan: PortPlan, target: Target, model_id: str, config: Mapping[str, Any]) -> Context:
    """What the files and rows beside the model folder are made from; nothing is taken for proven."""
    assert target.root is not None
    known = manifest.find(target.root).get(plan.name)
    recorded = frozenset(f.path for f in known.files if f.verb == "edit") if known else frozenset()
    return Context(plan, target.root, target.features, {}, model_id, recorded, config)


def tree_edits(context: Context, registry: FileChange) -> list[FileChange]:
    """The edited files of the tree; a file without rows of the port is left out, unless it was recorded before."""
    texts = {registry.path: registry.content}
    old = {registry.path: registry.base}
    for edit in all_edits(context):
        if edit.path not in texts:
            texts[edit.path] = read_text(context.root / edit.path)
            old[edit.path] = sha256(texts[edit.path])
        texts[edit.path] = edit.add(texts[edit.path])
    return [
        FileChange(path, text, "edit", base=old[path])
        for path, text in texts.items()
        if path == registry.path or sha256(text) != old[path] or path in context.recorded
    ]


def package_name(name: str) -> str:
    """The package of a plugin."""
    return f"vllm_omni_{name}"


def port_entry(plan: PortPlan, *, plugin: bool) -> PortEntry:
    """The dotted names of the port and of its reference."""
    package = package_name(plan.name) if plugin else f"{_MODELS_PACKAGE}.{plan.name}"
    return PortEntry(
        architecture=plan.model.pipeline_class,
        pipeline_module=f"{package}.pipeline_{plan.name}",
        pipeline_class=plan.pipeline.class_name,
        transformer_module=f"{package}.{plan.name}_transformer",
        transformer_class=plan.transformer.class_name,
        post_process=plan.pipeline.post_process,
        pre_process=plan.pipeline.pre_process,
        reference_pipeline=f"{plan.pipeline.module}.{plan.pipeline.class_name}",
        reference_transformer=f"{plan.transformer.module}.{plan.transformer.class_name}",
    )


def record_files(
    plan: PortPlan,
    changes: Sequence[FileChange],
    root: Path,
    *,
    plugin: bool,
    inputs: Mapping[str, Any],
    model_index: Mapping[str, Any],
    configs: Mapping[str, Any],
) -> list[FileChange]:
    """The manifest of the port that consists of ``changes``, and its files as they were made, for later merges.

    ``inputs`` holds what the port depends on and nothing of the run: a second run must give the same bytes.  An edited
    file that needs no edit now keeps the sum it was recorded with, for other ports may have edited it since.
    """
    known = manifest.find(root).get(plan.name)
    recorded = {f.path: f.sha256 for f in known.files} if known else {}
    entries = []
    for change in changes:
        digest = sha256(change.content)
        if change.verb == "edit" and change.base == digest:
            digest = recorded.get(change.path, digest)
        entries.append(FileEntry(change.path, digest, "edit" if change.verb == "edit" else "create"))
    made = manifest.build(
        plan, port_entry(plan, plugin=plugin), entries, inputs=inputs, model_index=model_index, configs=configs
    )
    pristine = {change.path: change.content for change in changes if change.verb == "create"}
    return [
        FileChange(made.path, manifest.dumps(made), "manifest"),
        FileChange(pristine_path(plan.name), pristine_dumps(pristine), "base"),
    ]


def _check_parsed(plan: PortPlan, transformer_code: str, pipeline_code: str) -> None:
    for what, code in (("transformer", transformer_code), ("pipeline", pipeline_code)):
        try:
            parsed(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise OmniportError(f"the {what} made for {plan.name} is not valid Python: {error}") from None


def _check_defined(plan: PortPlan, transformer_code: str, pipeline_code: str) -> None:
    """The registry finds class and functions by name: they must be there."""
    hooks = [h for h in (plan.pipeline.post_process, plan.pipeline.pre_process) if h]
    for what, code, names in (
        ("transformer", transformer_code, [plan.transformer.class_name]),
        ("pipeline", pipeline_code, [plan.pipeline.class_name, *hooks]),
    ):
        found = Definitions(code)  # ruff has parsed it
        if missing := [n for n in names if not (found.is_class(n) or found.is_function(n))]:
            raise OmniportError(f"the {what} made for {plan.name} does not define {', '.join(missing)}")


def _named(plan: PortPlan) -> tuple[str, str]:
    """The modules of the transformer and of the pipeline."""
    return f"{plan.name}_transformer", f"pipeline_{plan.name}"


def _modules(plan: PortPlan, transformer_code: str, pipeline_code: str, target: Target, plugin: bool) -> dict[str, str]:
    folder = _folder(plan, plugin)
    pipeline, transformer = plan.pipeline, plan.transformer
    transformer_code, cached_blocks = split_cached_blocks(transformer_code)
    files = {
        f"{folder}/{plan.name}_transformer.py": _module(
            plan, target, transformer_code, transformer.module, transformer.class_name
        ),
        f"{folder}/pipeline_{plan.name}.py": _module(plan, target, pipeline_code, pipeline.module, pipeline.class_name),
    }
    if cached_blocks:
        files[f"{folder}/{CACHED_BLOCKS}.py"] = _generated(target, cached_blocks)
    if not plugin:
        hooks = [h for h in (pipeline.post_process, pipeline.pre_process) if h]
        files[f"{folder}/__init__.py"] = render(
            "init.py.j2",
            spdx=_spdx(target),
            title=_title(plan),
            name=plan.name,
            pipeline_names=[pipeline.class_name, *hooks],
            transformer_names=[transformer.class_name],
            exports=sorted([pipeline.class_name, transformer.class_name, *hooks]),
        )
    return files


def _generated(target: Target, code: str) -> str:
    """A module that no file of the reference is the source of, or whose code names its source itself."""
    notice, body = split_header(code)
    header = [_spdx(target), *(["#", *notice] if notice else []), "#", f"# Generated by Omniport {__version__}."]
    return render("module.py.j2", header="\n".join(header), code=body)


def _module(plan: PortPlan, target: Target, code: str, module: str, class_name: str) -> str:
    """A module with its header: the tree's SPDX lines, the copyright of the source, what it was made from."""
    copyright_lines, body = split_header(code)
    made = f"# Generated by Omniport {__version__} from {comment(plan.model.source)},"
    origin = f"# {module.replace('.', '/')}.py: class {class_name}"
    header = [_spdx(target), *(["#", *copyright_lines] if copyright_lines else []), "#", made, origin]
    return render("module.py.j2", header="\n".join(header), code=body)


def split_header(code: str) -> tuple[list[str], str]:
    """The comment block at the top of ``code``, without its SPDX lines, and the rest."""
    lines = code.splitlines()
    end = 0
    while end < len(lines) and (lines[end].startswith("#") or not lines[end].strip()):
        end += 1
    block = [line.rstrip() for line in lines[:end] if line.startswith("#") and not line.startswith(("#!", "# SPDX-"))]
    while block and block[0] == "#":
        del block[0]
    while block and block[-1] == "#":
        del block[-1]
    return block, "\n".join(lines[end:]) + "\n"


def _spdx(target: Target) -> str:
    return f"{target.features.spdx_license}\n{target.features.spdx_text}"


def _title(plan: PortPlan) -> str:
    return f"{plan.model.pipeline_class} for vLLM-Omni"


def _registry(plan: PortPlan, target: Target, force: bool) -> FileChange:
    """The registry with the row of the port; refused where the name or the row is somebody else's."""
    if target.root is None or target.package is None:
        raise OmniportError("a port goes into a tree; give one with --into, or make a plugin with --plugin")
    ports = manifest.find(target.root)
    architecture = plan.model.pipeline_class
    same = ports.get(plan.name)
    folder = target.package / "diffusion" / "models" / plan.name
    if same is not None and same.port.architecture != architecture:
        raise OmniportError(
            f"the name {plan.name} is taken by the port of {same.port.architecture}; give another with --name"
        )
    row = target.registry.models.get(architecture)
    ours = _port_of(row, architecture, ports) if row is not None else None
    if row is not None and not force and ours is not None and ours != plan.name:
        raise OmniportError(
            f"{architecture} is served by the port {ours} of this tree: --name {ours} writes that port anew, --force "
            f"gives the row to {plan.name}"
        )
    if row is not None and not force and ours is None:
        raise OmniportError(
            f"{architecture} is already supported by this tree: {target.registry.file}:{row.line} serves it with "
            f"{row.cls} of {MODELS_FOLDER}/{row.folder}/{row.module}.py; --force and a --name of its own replace that "
            "row, --plugin DIR in place of --into leaves the tree as it is"
        )
    if same is None and folder.is_dir() and any(folder.rglob("*.py")):
        raise OmniportError(f"{folder} exists and was not written by omniport; give the port another name with --name")
    text = read_text(target.package / "diffusion" / "registry.py")
    edit = RowEdit(
        architecture=architecture,
        folder=plan.name,
        module=f"pipeline_{plan.name}",
        cls=plan.pipeline.class_name,
        post=plan.pipeline.post_process,
        pre=plan.pipeline.pre_process,
    )
    edited = edit_registry(text, target.registry.file, edit)
    return FileChange(target.registry.file, edited, "edit", base=sha256(text))


def _port_of(row: RegistryRow, architecture: str, ports: Mapping[str, manifest.Manifest]) -> str | None:
    """The port of ours that the row serves its class with."""
    served = f"{_MODELS_PACKAGE}.{row.folder}.{row.module}"
    found = (p.name for p in ports.values() if (p.port.architecture, p.port.pipeline_module) == (architecture, served))
    return next(found, None)


def _plugin(plan: PortPlan, target: Target) -> dict[str, str]:
    """What makes a package of the modules: metadata, registration, README and test."""
    if not target.features.plugin_register:
        raise OmniportError(
            f"vLLM-Omni {target.version} has no register_diffusion_model, so it takes no plugins; use --into TREE"
        )
    entry = port_entry(plan, plugin=True)
    package = package_name(plan.name)
    context = Context(plan, Path(), target.features)
    cached = bool(plan.transformer.blocks) and context.supports("cache-dit")
    enabler = cache_enabler.function_name(context) if cached and target.features.cachedit_api == "enabler" else ""
    uncached = bool(plan.transformer.features) and not cached and target.features.has_no_cache_set
    tables = ((POST, target.registry.post, entry.post_process), (PRE, target.registry.pre, entry.pre_process))
    others = [table for table, rows in target.registry.others.items() if entry.architecture in rows]
    values = {
        "spdx": _spdx(target),
        "title": _title(plan),
        "name": plan.name,
        "package": package,
        "distribution": package.replace("_", "-"),
        "architecture": entry.architecture,
        "module": entry.pipeline_module,
        "pipeline_class": entry.pipeline_class,
        "pipeline_file": f"pipeline_{plan.name}.py",
        "post_process": entry.post_process,
        "pre_process": entry.pre_process,
        "hooks": [h for h in (entry.post_process, entry.pre_process) if h],
        "stale": [table for table, rows, own in tables if entry.architecture in rows and not own] + others,
        "metadata": metadata.fields(context),
        "enabler": enabler,
        "uncached": uncached,
        "caching": "Caching with cache-dit is declared: `--cache-backend cache_dit` turns it on."
        if cached
        else "No cache can wrap its denoiser: a cache backend that is asked for is left off.",
        "source": plan.model.source,
        "model": plan.model.model,
        "reference_pipeline": entry.reference_pipeline,
        "reference_transformer": entry.reference_transformer,
        "made_for": "vLLM-Omni of the newest known generation (none was installed)"
        if target.assumed
        else f"vLLM-Omni {target.version}",
    }
    made = {
        f"{package}/__init__.py": render("plugin/init.py.j2", **values),
        "pyproject.toml": render("plugin/pyproject.toml.j2", **values),
        "README.md": render("plugin/README.md.j2", **values),
        "tests/test_plugin.py": render("plugin/test_plugin.py.j2", **values),
    }
    if enabler:
        function = cache_enabler.source(context).strip()
        made[f"{package}/cache.py"] = render("plugin/cache.py.j2", function=function, **values)
    return made
