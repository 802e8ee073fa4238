"""``diffusers:<PipelineClass>``: an index and configurations read from source text, without network or import.

The components are the annotated parameters of the pipeline's constructor; the configuration of each diffusers component
is its own constructor's literal defaults.
"""

from __future__ import annotations

import ast
import difflib
import re
from typing import Any

from omniport.errors import OmniportError, UnsupportedError
from omniport.hub.index import Component, ModelIndex
from omniport.records import dataclass
from omniport.source.tree import SourceModule, SourceTree

_KIND = re.compile(r"(Pipeline|(Transformer|UNet)?([123]D)?(Condition)?Model)$")
_INITIALS = re.compile(r"[A-Z0-9]")
_SCALARS = {"bool", "int", "float", "str"}
_SKIPPED = {"Optional", "Union", "Literal", "None", "list", "List", "dict", "Dict", "tuple", "Tuple", "Any", "Callable"}


@dataclass(frozen=True)
class Parameter:
    """A constructor parameter: name, annotation, default expression (None if required), 1-based line."""

    name: str
    annotation: ast.expr | None
    default: ast.expr | None
    line: int


def find_pipeline(name: str, source: SourceTree) -> SourceModule:
    """The module that defines pipeline class ``name``; raises OmniportError with close matches if none does."""
    found = source.resolve(source.package, name)
    if found is not None and found[0].name.startswith(f"{source.package}.pipelines."):
        return found[0]
    names = pipeline_names(source)
    if name not in names:
        close = _begun(name, names) or _close(name, names)
        if found is not None and found[0].name.startswith(f"{source.package}.models."):
            runs = f", such as diffusers:{_begun(name, names)[0]}" if _begun(name, names) else ""
            raise OmniportError(f"{name} is a model of {source.package} {source.version}; name a pipeline of it{runs}")
        hint = f"; did you mean {', '.join(close)}?" if close else "; name one such as diffusers:FluxPipeline"
        raise OmniportError(f"{source.package} {source.version} has no pipeline class {name}{hint}")
    return source.find_class(name, "pipelines")


def _stem(name: str) -> str:
    """A name without what tells its kind."""
    return _KIND.sub("", name).lower()


def _begun(name: str, names: list[str]) -> list[str]:
    """At most three of ``names`` that begin as ``name`` does, the shortest first."""
    found = [n for n in names if n.lower().startswith(_stem(name))]
    return sorted(found, key=lambda n: (len(n), n))[:3] if _stem(name) else []


def _close(name: str, names: list[str]) -> list[str]:
    """At most three of ``names`` that have the initials ``name`` or are spelt alike; what all end in says nothing."""
    initials = [n for n in names if "".join(_INITIALS.findall(n.removesuffix("Pipeline"))).lower() == _stem(name)]
    whole = difflib.get_close_matches(name, names, n=3, cutoff=0.85)
    stems = {_stem(n): n for n in names}
    return initials[:3] or whole or [stems[s] for s in difflib.get_close_matches(_stem(name), stems, n=3, cutoff=0.6)]


def pipeline_names(source: SourceTree) -> list[str]:
    """Names of the classes below ``pipelines/`` that are called pipelines."""
    pattern = re.compile(r"^class (\w*Pipeline\w*)\(", re.M)
    found: set[str] = set()
    for path in (source.root / "pipelines").rglob("*.py"):
        found.update(pattern.findall(path.read_text("utf-8", errors="replace")))
    return sorted(name for name in found if not name.endswith("Output"))


def constructor(source: SourceTree, module: SourceModule, class_name: str) -> tuple[SourceModule, list[Parameter]]:
    """Parameters of ``class_name``'s constructor, inherited if need be, without ``self``; the module that holds it."""
    pending, seen = [(module, class_name)], set()
    while pending:
        where, name = pending.pop(0)
        if (where.name, name) in seen:
            continue
        seen.add((where.name, name))
        outline = where.outline(name)
        init = outline.members.get("__init__")
        if isinstance(init, ast.FunctionDef):
            return where, _parameters(init.args)
        for base in outline.bases:
            if isinstance(base, ast.Name) and (found := source.resolve(where.name, base.id)) is not None:
                pending.append(found)
    return module, []


def _parameters(arguments: ast.arguments) -> list[Parameter]:
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    defaults += arguments.defaults
    pairs = [*zip(positional, defaults, strict=True), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return [Parameter(item.arg, item.annotation, value, item.lineno) for item, value in pairs if item.arg != "self"]


def default_config(source: SourceTree, module: SourceModule, class_name: str) -> dict[str, Any]:
    """``_class_name`` and the literal defaults of the constructor, tuples as lists, as in a config file."""
    config: dict[str, Any] = {"_class_name": class_name, "_diffusers_version": source.version}
    for parameter in constructor(source, module, class_name)[1]:
        known, value = _literal(parameter.default)
        if known:
            config[parameter.name] = value
    return config


def synthesise(class_name: str, source: SourceTree) -> tuple[ModelIndex, dict[str, dict[str, Any]]]:
    """Index and configurations of pipeline ``class_name`` with its default components.

    Components whose parameter defaults to None are left out (None), but the first denoiser is kept if all of them do:
    without one there is no model.  ``_optional_components`` alone leaves nothing out: it names parts that a user may
    drop (the text encoders of PixArt), not parts that a published model lacks.

    Raises:
        OmniportError: no such pipeline class, or one without components.
        UnsupportedError: a required component's annotation names no class.
    """
    module = find_pipeline(class_name, source)
    where, parameters = constructor(source, module, class_name)
    components: dict[str, Component | None] = {}
    left_out: dict[str, Component] = {}
    settings: dict[str, Any] = {}
    configs: dict[str, dict[str, Any]] = {}
    places = {"_class_name": (module.file, module.class_def(class_name).lineno)}
    denoisers: list[str] = []
    for parameter in parameters:
        places[parameter.name] = (where.file, parameter.line)
        found = _component(source, where, parameter)
        if found is None:
            known, value = _literal(parameter.default)
            if known:
                settings[parameter.name] = value
            elif parameter.default is None:
                raise UnsupportedError(
                    f"component {parameter.name}: its annotation names no class", *places[parameter.name]
                )
            continue
        component, config, is_denoiser = found
        configs[parameter.name] = config
        if is_denoiser:
            denoisers.append(parameter.name)
        if isinstance(parameter.default, ast.Constant) and parameter.default.value is None:
            components[parameter.name] = None
            left_out[parameter.name] = component
        else:
            components[parameter.name] = component
    if not components:
        raise OmniportError(f"{class_name} takes no components ({module.file}); name a concrete pipeline class")
    if denoisers and all(components[name] is None for name in denoisers):
        components[denoisers[0]] = left_out[denoisers[0]]
    configs = {name: config for name, config in configs.items() if components[name] is not None}
    data: dict[str, Any] = {"_class_name": class_name, "_diffusers_version": source.version}
    for name, entry in components.items():
        data[name] = [entry.library, entry.class_name] if entry else [None, None]
    data.update(settings)
    return ModelIndex(class_name, source.version, components, settings, data=data, places=places), configs


def _literal(node: ast.expr | None) -> tuple[bool, Any]:
    if node is None:
        return False, None
    try:
        return True, _as_json(ast.literal_eval(node))
    except (ValueError, TypeError):
        return False, None


def _as_json(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(value)


def _component(
    source: SourceTree, module: SourceModule, parameter: Parameter
) -> tuple[Component, dict[str, Any], bool] | None:
    """The component that a parameter's annotation names, its configuration, and whether it is a denoiser."""
    for name in _class_names(parameter.annotation):
        if name in _SCALARS or name in _SKIPPED:
            continue
        found = source.resolve(module.name, name)
        if found is None:
            target = module.imports.get(name)
            if target is not None and target[0].split(".")[0] == "transformers":
                return Component("transformers", name), {}, False
            continue
        home, defined = found
        if not home.definitions.is_class(defined):
            if _imported(module, name):  # a stand-in for what older versions of transformers do not have
                return Component("transformers", name), {}, False
            continue
        if any(isinstance(base, ast.Name) and base.id == "Enum" for base in home.outline(defined).bases):
            chosen = source.resolve(source.package, _first_member(home.class_def(defined)))
            if chosen is None:
                continue
            home, defined = chosen
        config = default_config(source, home, defined)
        return Component(library_of(home, source), defined), config, is_denoiser(home, source)
    return None


def _imported(module: SourceModule, name: str) -> bool:
    """Whether the module imports ``name`` from transformers somewhere, under a condition too."""
    return any(
        isinstance(n, ast.ImportFrom) and n.module == "transformers" and any(a.name == name for a in n.names)
        for n in ast.walk(module.ast)
    )


def _first_member(node: ast.ClassDef) -> str:
    """First member of an enumeration such as KarrasDiffusionSchedulers, whose members name the classes that fit."""
    for statement in node.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            return statement.targets[0].id
    return ""


def library_of(module: SourceModule, source: SourceTree) -> str:
    """Library that an index names for a class of ``module``: diffusers, or the pipeline folder that defines it."""
    parts = module.name.split(".")
    return parts[-2] if parts[1:2] == ["pipelines"] and len(parts) > 3 else source.package


def is_denoiser(module: SourceModule, source: SourceTree) -> bool:
    """Whether a class of ``module`` is a transformer or U-Net of the package's models."""
    return module.name.startswith((f"{source.package}.models.transformers.", f"{source.package}.models.unets."))


def _class_names(annotation: ast.expr | None) -> list[str]:
    """Names in an annotation in order: ``A``, ``Optional[A]``, ``Union[A, B]``, ``A | B``, ``"A"``."""
    if annotation is None:
        return []
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            annotation = ast.parse(annotation.value, mode="eval").body
        except SyntaxError:
            return []
    names: list[tuple[int, int, str]] = []
    for node in ast.walk(annotation):
        if isinstance(node, ast.Name):
            names.append((node.lineno, node.col_offset, node.id))
    return [name for _, _, name in sorted(names)]
