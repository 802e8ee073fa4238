"""Step 0 of the guide ``add-diffusion-model``: already supported, Path A, Path B or hybrid, each with its evidence.

Custom code is told by six signs, none of which needs it to be run: ``_class_name`` as a list; a component whose library
is neither diffusers, transformers nor a pipeline package of diffusers; a class that the given diffusers does not define
(version gap); ``auto_map`` in a component's config; a pipeline class unknown to diffusers beside other custom code; no
``model_index.json``.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping
from typing import Literal, Protocol

from omniport.classify.roles import role_of
from omniport.errors import OmniportError, printable
from omniport.hub import Component, Repo
from omniport.hub.index import INDEX_FILE
from omniport.hub.names import is_identifier
from omniport.plan.model import ComponentPlan, ModelPlan, Path, Why
from omniport.records import dataclass
from omniport.source.tree import SourceModule, SourceTree


class RegistryEntry(Protocol):
    """Where a tree implements a pipeline class."""

    @property
    def folder(self) -> str: ...
    @property
    def module(self) -> str: ...
    @property
    def cls(self) -> str: ...
    @property
    def line(self) -> int: ...


class Registry(Protocol):
    """The diffusion registry of a target tree; ``models`` maps pipeline class names to rows."""

    @property
    def file(self) -> str: ...
    @property
    def models(self) -> Mapping[str, RegistryEntry]: ...


FOLLOWS: dict[Path, str] = {
    "already supported": "the tree serves this class already: test it (step 5) and document it (step 7)",
    "path A": "port the diffusers transformer and pipeline (A1 to A5), then register, test and document (steps 4 to 7)",
    "path B": "study the model's own code, decide what lives where, write load_weights and an index (B1 to B7)",
    "hybrid": "take the stock components by Path A, port the custom ones by Path B (A1 to A5 and B1 to B7)",
}

Standing = Literal["stock", "custom", "absent"]


@dataclass(frozen=True)
class _Judged:
    plan: ComponentPlan
    standing: Standing
    why: Why  # the evidence that it is custom, or where its class was found


def classify(repo: Repo, source: SourceTree, registry: Registry | None) -> ModelPlan:
    """Decide the path of an opened model.

    ``registry`` is the target tree's; None (a plugin) skips "already supported".

    Raises:
        OmniportError: the pipeline class is known neither to the target nor to diffusers, and nothing in the repository
            says that it is the repository's own.
    """
    if not repo.index.present:
        return _without_index(repo, source)
    judged = [_judge(repo, source, name, entry) for name, entry in repo.index.components.items()]
    custom = [item for item in judged if item.standing == "custom"]
    stock = [item for item in judged if item.standing == "stock"]
    pipeline_custom, pipeline_why = _pipeline(repo, source, bool(custom), registry)
    whys = [pipeline_why, *(item.why for item in custom)]
    path: Path
    if registry is not None and repo.index.pipeline_class in registry.models:
        row = registry.models[repo.index.pipeline_class]
        reason = f"{repo.index.pipeline_class} is registered: class {row.cls} in {row.folder}/{row.module}"
        whys = [Why(reason, registry.file, row.line), *whys]
        path = "already supported"
    elif not pipeline_custom and not custom:
        path = "path A"
        reason = f"all {len(stock)} components are classes of diffusers and transformers"
        whys.append(Why(reason, *_index_place(repo, "_class_name", whole=True)))
    elif stock:
        path = "hybrid"
        names = ", ".join(item.plan.name for item in stock)
        whys.append(Why(f"stock components: {names}", *_index_place(repo, "_class_name", whole=True)))
    else:
        path = "path B"
        whys.append(
            Why("no component is a class of diffusers or transformers", *_index_place(repo, "_class_name", whole=True))
        )
    return _plan(repo, source, path, tuple(item.plan for item in judged), tuple(whys))


def _plan(
    repo: Repo, source: SourceTree, path: Path, components: tuple[ComponentPlan, ...], whys: tuple[Why, ...]
) -> ModelPlan:
    return ModelPlan(
        model=repo.model,
        form=repo.form,
        revision=repo.revision,
        pipeline_class=repo.index.pipeline_class,
        path=path,
        source=f"{source.package} {source.version}",
        components=components,
        why=whys,
        follows=FOLLOWS[path],
    )


def _index_place(repo: Repo, key: str, whole: bool = False) -> tuple[str, int]:
    file, line = repo.index.place(key)
    return file, 0 if whole else line


def _pipeline(repo: Repo, source: SourceTree, others: bool, registry: Registry | None) -> tuple[bool, Why]:
    """Whether the pipeline class is the repository's own, and the evidence; raises if nobody knows it."""
    index = repo.index
    name = index.pipeline_class
    place = index.place("_class_name")
    if index.custom_module is not None:
        return True, Why(f"_class_name is a list: {name} is in the repository's own {index.custom_module}.py", *place)
    found = _find(source, source.package, name)
    if found is not None and not found[0].name.startswith(f"{source.package}.pipelines."):
        raise OmniportError(f"{place[0]}:{place[1]}: {name} is a class of {source.package}, but no pipeline")
    if found is not None and not index.modular:
        module, defined = found
        return False, Why(f"{name} is a pipeline of {source.package} {source.version}", *_line(module, defined))
    if registry is not None and name in registry.models:
        return False, Why(f"{name} is a pipeline of the target tree only; {_gap(repo, source)}", *place)
    if index.modular:
        return True, Why(f"a modular pipeline ({name}): its blocks, not one class, are the reference", *place)
    if others:
        return True, Why(f"{_gap(repo, source)}; beside it the repository has custom components", *place)
    raise OmniportError(
        f"{place[0]}:{place[1]}: unknown pipeline class {name}: {_gap(repo, source)}{_close(source, name)}"
    )


def _gap(repo: Repo, source: SourceTree) -> str:
    saved = f" (the repository was saved with {repo.index.diffusers_version})" if repo.index.diffusers_version else ""
    return f"{source.package} {source.version} defines no {repo.index.pipeline_class}{saved}"


def _close(source: SourceTree, name: str) -> str:
    top = source.module(source.package)
    names = [known for known in (top.imports if top else {}) if "Pipeline" in known]
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    return f"; did you mean {', '.join(close)}?" if close else ""


def _judge(repo: Repo, source: SourceTree, name: str, entry: Component | None) -> _Judged:
    place = repo.index.place(name)
    if entry is None:
        why = Why("left out in the index" if repo.form != "diffusers" else "defaults to None", *place)
        return _Judged(ComponentPlan(name, "", "", "absent", why), "absent", why)
    remote = entry.extra.get("pretrained_model_name_or_path")
    from_elsewhere = (
        f"; its files are in {printable(remote)[:200]}" if isinstance(remote, str) and remote != repo.model else ""
    )
    own = _auto_map(repo, name)
    if own is not None:
        module_name, class_name, evidence = own
        role, rule = role_of(name, module_name, class_name, None)
        return _Judged(ComponentPlan(name, module_name, class_name, role, Why(rule, *place)), "custom", evidence)
    library, class_name = entry.library, entry.class_name
    found = _find(source, library, class_name)
    if found is not None and library == source.package:
        found, renamed = _remapped(repo, source, name, found)
        class_name = found[1]
    else:
        renamed = ""
    module = found[0] if found else None
    role, rule = role_of(name, library, class_name, module)
    absent = ""
    if repo.form != "diffusers" and not from_elsewhere and not any(f.startswith(f"{name}/") for f in repo.files()):
        absent = f"; the repository has no folder {name}/"
    reason = f"{rule}{renamed}{from_elsewhere}{absent}"
    if found is not None:
        why = Why(reason, *_line(*found))
        return _Judged(ComponentPlan(name, library, class_name, role, why), "stock", why)
    component = ComponentPlan(name, library, class_name, role, Why(reason, *place))
    if library == "transformers":
        return _Judged(component, "stock", component.why)
    return _Judged(component, "custom", Why(_custom_reason(repo, source, name, entry), *place))


def _custom_reason(repo: Repo, source: SourceTree, name: str, entry: Component) -> str:
    if entry.library == source.package:
        saved = (
            f"; the repository was saved with {repo.index.diffusers_version}" if repo.index.diffusers_version else ""
        )
        return f"{name}: version gap: {source.package} {source.version} defines no {entry.class_name}{saved}"
    package = f"{source.package}.pipelines.{entry.library}"
    if source.module(package) is not None:
        return f"{name}: version gap: {package} of {source.version} defines no {entry.class_name}"
    path = f"{name}/{entry.library}.py"
    if path in repo.files():
        return f"{name}: {entry.class_name} is the repository's own code in {path}"
    return f"{name}: {entry.class_name} is custom code of module {entry.library}; the repository lacks {path}"


def _find(source: SourceTree, library: str, class_name: object) -> tuple[SourceModule, str] | None:
    """Where the reference package defines ``class_name`` of ``library``: itself, or one of its pipeline packages.

    Retired pipeline packages live below ``pipelines.deprecated``; indexes name them as before (``wuerstchen``).
    """
    if not isinstance(class_name, str) or library == "transformers":
        return None
    pipelines = f"{source.package}.pipelines"
    scopes = [library] if library == source.package else [f"{pipelines}.{library}", f"{pipelines}.deprecated.{library}"]
    scope = next((name for name in scopes if source.module(name) is not None), None)
    found = source.resolve(scope, class_name) if scope else None
    if found is None or not found[0].definitions.is_class(found[1]):
        return None
    # Without torch, diffusers exports placeholders of the same names; they define nothing.
    return None if found[0].name.startswith(f"{source.package}.utils.dummy_") else found


def _line(module: SourceModule, name: str) -> tuple[str, int]:
    return module.file, module.definitions.span(name).head + 1


def _remapped(
    repo: Repo, source: SourceTree, name: str, found: tuple[SourceModule, str]
) -> tuple[tuple[SourceModule, str], str]:
    """Follow diffusers' table of retired classes, which picks the new one by ``norm_type`` of the config.

    Source: ``_CLASS_REMAPPING_DICT`` in ``diffusers/models/model_loading_utils.py``, read as a literal.
    """
    loading = source.module(f"{source.package}.models.model_loading_utils")
    node = loading.definitions.get("_CLASS_REMAPPING_DICT") if loading else None
    if not isinstance(node, ast.Assign):
        return found, ""
    try:
        table = ast.literal_eval(node.value)
    except ValueError:
        return found, ""
    choices = table.get(found[1]) if isinstance(table, dict) else None
    if not choices:
        return found, ""
    norm_type = repo.config(name).get("norm_type")
    target = choices.get(norm_type) if isinstance(norm_type, str) else None
    renamed = _find(source, source.package, target)
    if renamed is None:
        return found, ""
    return renamed, f"; {found[1]} with norm_type {norm_type} loads as {target}"


def _auto_map(repo: Repo, name: str) -> tuple[str, str, Why] | None:
    """Module, class and evidence if the component's config sends the loader to code in the repository."""
    document = repo.config_document(name) if repo.form != "diffusers" else None
    entry = document.value.get("auto_map") if document else None
    if document is None or not isinstance(entry, dict) or not entry:
        return None
    target = entry.get("AutoModel", next(iter(entry.values())))
    place = (document.name, document.lines.get("auto_map", 0))
    module, _, class_name = str(target).rpartition(".")
    if not is_identifier(module) or not is_identifier(class_name):
        raise OmniportError(f"{place[0]}:{place[1]}: auto_map {str(target)[:100]!r} is no module and class")
    return module, class_name, Why(f"{name}: auto_map names the repository's own {module}.{class_name}", *place)


def _without_index(repo: Repo, source: SourceTree) -> ModelPlan:
    """No index: hybrid if a folder's config names a stock class, else Path B."""
    components: list[ComponentPlan] = []
    for folder in sorted({path.split("/")[0] for path in repo.files() if path.count("/") == 1}):
        document = repo.config_document(folder) if is_identifier(folder) else None
        class_name = document.value.get("_class_name") if document else None
        found = _find(source, source.package, class_name)
        if document is None or found is None:
            continue
        role, rule = role_of(folder, source.package, found[1], found[0])
        reason = f"{rule}; {document.name}:{document.lines['_class_name']} names it"
        components.append(ComponentPlan(folder, source.package, found[1], role, Why(reason, *_line(*found))))
    whys = [Why(f"no {INDEX_FILE} in the repository")]
    nested = [path.rsplit("/", 1)[0] for path in repo.files() if path.endswith(f"/{INDEX_FILE}")]
    whys += [Why(f"there is one in {folder}/: give that folder for the model in it") for folder in sorted(nested)]
    if components:
        whys.append(Why(f"stock components by their configs: {', '.join(item.name for item in components)}"))
    return _plan(repo, source, "hybrid" if components else "path B", tuple(components), tuple(whys))
