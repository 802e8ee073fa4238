"""The constructor of a pipeline: which parameters are components, which are settings, and what becomes of each."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from omniport.analyse import pipeline_knowledge as knowledge
from omniport.analyse import pipeline_reading as reading
from omniport.errors import UnsupportedError
from omniport.plan.model import Decision, Why
from omniport.plan.subjects import COMPONENT
from omniport.rewrite.pipeline import facts
from omniport.source.tree import SourceModule, SourceTree


class Component(Protocol):
    """An entry of ``model_index.json``: the library and the class."""

    @property
    def library(self) -> str: ...
    @property
    def class_name(self) -> str: ...


class Index(Protocol):
    """``model_index.json``; a component that the model does not have is None or missing."""

    @property
    def components(self) -> Mapping[str, Component | None]: ...


def constructor_decisions(
    source: SourceTree, module: SourceModule, node: ast.ClassDef, init: ast.FunctionDef, index: Index
) -> Iterator[Decision]:
    """``component X`` with its dotted class, or with None where the model has none; ``setting X`` with its default.

    A setting is a constructor parameter that registers nothing: a plain value of ``model_index.json``.

    Raises:
        UnsupportedError: a required component that the model lacks, or one of a library that cannot be imported.
    """
    optional = reading.optional_components(node)
    registered = reading.registered(init)
    rebound = reading.rebound(init)
    for argument, default in reading.parameters(init, module.file):
        place = (module.file, argument.lineno)
        name = registered.get(argument.arg)
        if name is None:
            yield _setting(argument, default, place, module)
            continue
        if name != argument.arg:
            raise UnsupportedError(f"constructor parameter {argument.arg} is registered as {name}", *place)
        entry = index.components.get(name)
        if entry is not None:
            component = _component(source, name, entry.library, entry.class_name, place)
            yield component
            role = component.why.reason.partition(":")[0]
            asked = role == "other" or (role == "vae" and f"isinstance(self.{name}, " in module.text)
            if asked and (known := _lineage(source, str(component.value))):
                reason = "the class that model_index.json names, and its bases"
                yield Decision(f"{facts.CLASS} {name}", ", ".join(known), Why(reason, *place))
        elif argument.arg in rebound:
            why = Why("the constructor makes it where none is given", *place)
            yield Decision(f"{facts.MADE} {name}", True, why)
        elif name in optional or default is not None:
            why = Why("optional component that model_index.json does not have", *place)
            yield Decision(f"{COMPONENT} {name}", None, why)
        else:
            raise UnsupportedError(f"component {name} is required, and model_index.json does not name it", *place)


def _setting(argument: ast.arg, default: ast.expr | None, place: tuple[str, int], module: SourceModule) -> Decision:
    if default is None:
        raise UnsupportedError(f"constructor parameter {argument.arg} is no component and has no default", *place)
    try:
        value = reading.constant_of(module.ast, default.id) if isinstance(default, ast.Name) else default
        ast.literal_eval(value)  # type: ignore[arg-type]
    except ValueError:
        what = f"constructor parameter {argument.arg} has the default {ast.unparse(default)}, no literal"
        raise UnsupportedError(what, *place) from None
    why = Why("no component: a value of model_index.json", *place)
    return Decision(f"{facts.SETTING} {argument.arg}", ast.unparse(default), why)


def _component(source: SourceTree, name: str, library: str, class_name: str, place: tuple[str, int]) -> Decision:
    dotted = _dotted(source, library, class_name)
    if dotted is None:
        raise UnsupportedError(f"component {name} is a {class_name} of library {library}", *place)
    role = component_role(name, dotted)
    if role == "other" and not _is_module(source, dotted):
        role = "settings"
    why = Why(f"{role}: model_index.json names {library}.{class_name}", *place)
    return Decision(f"{COMPONENT} {name}", dotted, why)


def _dotted(source: SourceTree, library: str, class_name: str) -> str | None:
    """Where a component's class is imported from; None if it is neither of transformers nor of the package."""
    if library == "transformers":
        return f"transformers.{class_name}"
    if library == source.package:
        found = source.resolve(source.package, class_name)
        module = found[0] if found else source.find_class(class_name)
        return f"{module.name}.{class_name}"
    # a folder of pipelines/: the package itself exports the class, or one of its modules defines it
    found = source.resolve(f"{source.package}.pipelines.{library}", class_name)
    if found is None and (source.root / "pipelines" / library).is_dir():
        return f"{source.find_class(class_name, f'pipelines/{library}').name}.{class_name}"
    if found is None and (source.root / "pipelines" / "deprecated" / library).is_dir():
        return f"{source.find_class(class_name, f'pipelines/deprecated/{library}').name}.{class_name}"
    return f"{found[0].name}.{found[1]}" if found else None


def kept_buffers(source: SourceTree, name: str) -> Iterator[Decision]:
    """``weights kept``: a buffer of the denoiser in module ``name`` that vLLM's loader would drop."""
    module = source.module(name)
    if module is None or not any(buffer.rpartition(".")[2] in module.text for buffer in knowledge.LOADER_DROPS):
        return
    for buffer, line in reading.registered_buffers(module.ast):
        if buffer in knowledge.LOADER_DROPS:
            why = Why("vLLM's AutoWeightsLoader drops it; the checkpoint holds it", module.file, line)
            yield Decision("weights kept", buffer, why)


def _lineage(source: SourceTree, dotted: str) -> list[str]:
    """Names of a class of the package and of its bases, those of other packages included; empty for other classes."""
    name, _, class_name = dotted.rpartition(".")
    module = source.module(name)
    if module is None or not module.definitions.is_class(class_name):
        return []
    found = [class_name]
    for base in module.outline(class_name).bases:
        base_name = ast.unparse(base)
        found.append(base_name.rpartition(".")[2])
        resolved = source.resolve(name, base_name)
        if resolved is not None:
            found += _lineage(source, f"{resolved[0].name}.{resolved[1]}")
    return list(dict.fromkeys(found))


def _is_module(source: SourceTree, dotted: str) -> bool:
    """Whether a class of the package derives from ``nn.Module`` or ``ModelMixin``, as far as its own bases tell."""
    name, _, class_name = dotted.rpartition(".")
    module = source.module(name)
    if module is None:
        return True
    bases = {ast.unparse(b).rpartition(".")[2] for b in module.outline(class_name).bases}
    return bool(bases & {"ModelMixin", "Module"}) or not bases & {"ConfigMixin", "BaseGuidance", "SchedulerMixin"}


def component_role(name: str, dotted: str) -> str:
    """Role of a component by its class: dit, vae, encoder, tokenizer, processor, scheduler or other."""
    class_name = dotted.rsplit(".", 1)[1]
    if ".models.transformers." in dotted or name.startswith("transformer"):
        return "dit"
    for part, role in (
        ("Tokenizer", "tokenizer"),
        ("Processor", "processor"),
        ("FeatureExtractor", "processor"),
        ("Scheduler", "scheduler"),
    ):
        if part in class_name and not class_name.endswith(("Model", "VAEAudioTokenizer", "Detokenizer")):
            if role == "tokenizer" and not dotted.startswith("transformers."):
                continue
            return role
    if name.startswith("vae") or class_name.startswith("Autoencoder"):
        return "vae"
    return "encoder" if dotted.startswith("transformers.") else "other"


def component_roles(decisions: tuple[Decision, ...]) -> dict[str, tuple[str, str]]:
    """Component -> (dotted class, role), in the order of the reference's constructor."""
    found: dict[str, tuple[str, str]] = {}
    for decision in facts.of_kind(decisions, COMPONENT):
        found[facts.name_of(decision)] = (str(decision.value), decision.why.reason.split(":")[0])
    return found


def settings(decisions: tuple[Decision, ...]) -> dict[str, Any]:
    """Setting -> its default as source."""
    return {facts.name_of(d): d.value for d in facts.of_kind(decisions, facts.SETTING)}
