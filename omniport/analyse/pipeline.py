"""A diffusers pipeline class to a plan: components, arguments, what goes, guidance, loop and output."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

import libcst as cst

from omniport.analyse import pipeline_knowledge as knowledge
from omniport.analyse import pipeline_reading as reading
from omniport.analyse.pipeline_loop import DenoiseLoop, denoiser_attributes, denoiser_members, find_loop
from omniport.analyse.pipeline_output import Output, find_output
from omniport.errors import UnsupportedError
from omniport.plan.model import ArgumentPlan, Decision, PipelinePlan, Scalar, Why
from omniport.rewrite.pipeline import access, facts
from omniport.rewrite.pipeline.blocks import bound, reads, suite
from omniport.rewrite.pipeline.liveness import live_in
from omniport.rewrite.pipeline.normal import ENTRY, NormalClass, normalise
from omniport.source.syntax import code
from omniport.source.tree import SourceModule, SourceTree

if TYPE_CHECKING:
    from omniport.target.features import TargetFeatures


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


def analyse_pipeline(
    source: SourceTree, class_name: str, index: Index, features: TargetFeatures, *, name: str
) -> PipelinePlan:
    """Decide how ``class_name`` becomes the pipeline of port ``name``.

    Raises:
        UnsupportedError: the class, or the target, has a form that no rule covers yet; the message names it.
    """
    for flag in ("request_batch", "cfg_mixin", "cfg_all_ranks", "guidance_none"):
        if not getattr(features, flag):
            raise UnsupportedError(f"a vLLM-Omni tree without {flag}: its pipelines have another interface")
    module = source.find_class(class_name, "pipelines")
    return _Analysis(source, module, class_name, index, name).plan()


class _Analysis:
    def __init__(self, source: SourceTree, module: SourceModule, class_name: str, index: Index, name: str) -> None:
        self.source, self.module, self.class_name, self.index, self.name = source, module, class_name, index, name
        self.node = module.class_def(class_name)
        methods = {n.name: n for n in self.node.body if isinstance(n, ast.FunctionDef)}
        if ENTRY not in methods or "__init__" not in methods:
            what = f"class {class_name} does not define both __init__ and {ENTRY} itself"
            raise UnsupportedError(what, *self.at(self.node))
        self.call, self.init = methods[ENTRY], methods["__init__"]
        self.dropped: list[Decision] = []
        self.decisions: list[Decision] = []

    def at(self, node: ast.AST) -> tuple[str, int]:
        return self.module.file, getattr(node, "lineno", 0)

    def why(self, reason: str, node: ast.AST) -> Why:
        return Why(reason, *self.at(node))

    def plan(self) -> PipelinePlan:
        self.components()
        self.decided()
        arguments = self.arguments()
        normal = normalise(
            self.module.text, self.module.file, self.class_name, facts.request(self.dropped, self.decisions)
        )
        self.gone(normal)
        for method in normal.methods.values():
            if found := access.foreign(access.rename(method)):
                raise UnsupportedError(f"{found[1]}", self.module.file, self.line_in_class(found[0]))
        if members := denoiser_members(list(normal.methods.values())):
            what = f"self.transformer.{members[0]}: the pipeline uses a member of the denoiser"
            raise UnsupportedError(what, self.module.file, self.line_of(f"self.transformer.{members[0]}"))
        line = self.line_of("self.transformer(")
        loop = find_loop(normal.entry, self.module.file, line)
        output = find_output(normal.entry, self.module.file, self.line_of("    return "))
        cfg = self.guidance(normal, loop, line)
        self.loop_names(normal, loop, line)
        self.result(output)
        used = live_in(suite(normal.entry.body))
        arguments = [a for a in arguments if a.name in used]
        self.batching(arguments)
        return PipelinePlan(
            class_name=self.class_name,
            module=self.module.name,
            output=output.kind,
            arguments=tuple(arguments),
            dropped=tuple(self.dropped),
            cfg=cfg,
            transformer_attributes=denoiser_attributes(list(normal.methods.values())),
            post_process=f"get_{self.name}_post_process_func" if output.processor else None,
            pre_process=None,
            decisions=tuple(self.decisions),
        )

    def decide(self, subject: str, value: Scalar, reason: str, line: int) -> None:
        self.decisions.append(Decision(subject, value, Why(reason, self.module.file, line)))

    def line_of(self, text: str, after: int = 0) -> int:
        """First line of the call's body, below ``after``, that holds ``text``; the call's own line if none does."""
        lines = self.module.text.splitlines()
        for number in range(max(after, self.call.body[0].end_lineno or 0), self.call.end_lineno or 0):
            if text in lines[number]:
                return number + 1
        return self.call.lineno

    def line_in_class(self, text: str) -> int:
        """First line of the class that holds ``text``; the line of ``class`` if none does."""
        lines = self.module.text.splitlines()[: self.node.end_lineno]
        return next((n for n, line in enumerate(lines, 1) if n > self.node.lineno and text in line), self.node.lineno)

    # --------------------------------------------------------------------------------------------------- components
    def components(self) -> None:
        optional = reading.optional_components(self.node)
        arguments = self.init.args
        defaults = [None] * (len(arguments.args) - len(arguments.defaults)) + list(arguments.defaults)
        registered = set(reading.registered(self.init))
        for argument, default in zip(arguments.args[1:], defaults[1:], strict=True):
            if argument.arg not in registered:
                raise UnsupportedError(f"constructor parameter {argument.arg} is no component", *self.at(argument))
            entry = self.index.components.get(argument.arg)
            if entry is not None:
                self.component(argument, entry.library, entry.class_name)
            elif argument.arg in optional or reading.is_none(default):
                why = self.why("optional component that model_index.json does not have", argument)
                self.dropped.append(Decision(f"component {argument.arg}", None, why))
            else:
                raise UnsupportedError(
                    f"component {argument.arg} is required, and model_index.json does not name it", *self.at(argument)
                )

    def component(self, argument: ast.arg, library: str, class_name: str) -> None:
        if library == self.source.package:
            found = self.source.resolve(self.source.package, class_name)
            module = found[0] if found else self.source.find_class(class_name)
            dotted = f"{module.name}.{class_name}"
        elif library == "transformers":
            dotted = f"transformers.{class_name}"
        else:
            raise UnsupportedError(
                f"component {argument.arg} is a {class_name} of library {library}", *self.at(argument)
            )
        role = component_role(argument.arg, dotted)
        if role == "dit" and argument.arg != "transformer":
            raise UnsupportedError(f"a second denoiser, {argument.arg}", *self.at(argument))
        reason = f"{role}: model_index.json names {library}.{class_name}"
        self.decisions.append(Decision(f"component {argument.arg}", dotted, self.why(reason, argument)))

    # ------------------------------------------------------------------------------------------------- what is decided
    def decided(self) -> None:
        names = {
            reading.dotted(n): n for n in reading.walk_reversed(self.node) if isinstance(n, ast.Name | ast.Attribute)
        }
        for table, kind in ((knowledge.DECIDED_VALUES, facts.VALUE), (knowledge.DECIDED_CALLS, facts.CALL)):
            for name, (value, reason) in table.items():
                if name in names:
                    self.dropped.append(Decision(f"{kind} {name}", value, self.why(reason, names[name])))
        for name, reason in knowledge.REMOVED_CALLS.items():
            if name in names:
                self.dropped.append(Decision(f"{facts.STATEMENT} {name}", None, self.why(reason, names[name])))
        for name, reason in knowledge.UNWRAPPED.items():
            if found := [n for dotted, n in names.items() if dotted and dotted.split(".")[-1] == name]:
                self.dropped.append(Decision(f"{facts.CONTEXT} {name}", None, self.why(reason, found[-1])))
        self.attention_arguments(names)

    def attention_arguments(self, names: Mapping[str | None, ast.AST]) -> None:
        """``self._x_attention_kwargs`` is None where the class never stores more than the argument itself in it."""
        for name, node in names.items():
            if not name or not knowledge.ATTENTION_ARGUMENTS.match(name):
                continue
            for store in reading.stores(self.node, name):
                if not reading.stores_argument(store):
                    raise UnsupportedError(f"{name} is given {ast.unparse(store)}", *self.at(store))
            why = self.why("holds the dropped argument and IP-adapter entries, nothing else", node)
            self.dropped.append(Decision(f"{facts.VALUE} {name}", None, why))

    def arguments(self) -> list[ArgumentPlan]:
        found = []
        outputs = ""
        parameters = list(reading.parameters(self.call, self.module.file))
        for argument, _ in parameters:
            if knowledge.BINDINGS.get(argument.arg) is knowledge._OUTPUTS:
                outputs = argument.arg
        for argument, default in parameters:
            gone = next((d for d in knowledge.DROPPED_ARGUMENTS if d[0].match(argument.arg)), None)
            if gone is not None:
                why = self.why(gone[2], argument)
                self.dropped.append(Decision(f"{facts.ARGUMENT} {argument.arg}", gone[1], why))
                continue
            binding = self.binding(argument)
            text = "None" if default is None else ast.unparse(default)
            plan = ArgumentPlan(
                argument.arg,
                _source(binding, argument.arg, text, outputs or "1"),
                text,
                self.why(f"{binding.scope}: {binding.reason}", argument),
            )
            found.append(plan)
        if outputs:
            self.decide("outputs per prompt", outputs, "how many outputs one request asks for", self.call.lineno)
        return _embeds_replace_prompts(found)

    def binding(self, argument: ast.arg) -> knowledge.Binding:
        name = argument.arg
        if name in knowledge.BINDINGS:
            return knowledge.BINDINGS[name]
        if knowledge.PROMPT_TENSORS.match(name):
            return knowledge.PROMPT_TENSOR
        if knowledge.MEDIA.match(name):
            raise UnsupportedError(f"argument {name}: media input", *self.at(argument))
        return knowledge.EXTRA

    def gone(self, normal: NormalClass) -> None:
        methods = {n.name: n for n in self.node.body if isinstance(n, ast.FunctionDef)}
        for name in normal.dropped_methods:
            why = self.why("nothing that is kept uses it", methods[name])
            self.dropped.append(Decision(f"{facts.METHOD} {name}", None, why))
        for method, name in normal.dropped_parameters:
            if method != ENTRY:
                why = self.why("every call leaves it None, or nothing reads it", methods[method])
                self.dropped.append(Decision(f"{facts.PARAMETER} {method}.{name}", None, why))

    # -------------------------------------------------------------------------------------------- guidance and the loop
    def guidance(
        self, normal: NormalClass, loop: DenoiseLoop, line: int
    ) -> Literal["none", "embedded", "sequential", "batched"]:
        if loop.negative is None:
            embedded = any(a.keyword and a.keyword.value == "guidance" for a in loop.positive.call.args)
            self.decide("guidance", "embedded" if embedded else "none", "one prediction a step", line)
            return "embedded" if embedded else "none"
        assert loop.guard is not None
        guard = code(loop.guard)
        line = self.line_of(f"if {guard}:", line)
        self.decide("guidance guard", guard, "the condition under which the second prediction runs", line)
        default = loop.combine == "default"
        reason = "equals negative + scale * (positive - negative)" if default else "other formula: kept"
        self.decide("guidance combine", loop.combine, reason, line)
        if loop.scale is not None:
            self.decide("guidance scale", code(loop.scale), "the factor of that formula", line)
        plain = loop.step is not None
        reason = "plain step" if plain else "the step takes more than prediction, time and latents"
        self.decide("scheduler step", "mixin" if plain else "source", reason, self.line_of("self.scheduler.step("))
        return "sequential"

    def loop_names(self, normal: NormalClass, loop: DenoiseLoop, line: int) -> None:
        block = suite(normal.entry.body)
        own = set(_bound_before(normal.entry, block[: loop.start]))
        after = live_in(block[loop.stop :])
        inside = block[loop.start : loop.stop]
        needed = live_in(inside)
        order = [n for n in reads(*inside) if n in needed and n in own]
        self.decide("diffuse arguments", ", ".join(order), "names that the loop reads and the call binds before", line)
        results = [n for n in _ordered(bound(inside), inside) if n in after]
        if not results:
            raise UnsupportedError("the denoise loop leaves nothing behind", self.module.file, line)
        self.decide("diffuse results", ", ".join(results), "names that the loop binds and the call reads after", line)

    def result(self, output: Output) -> None:
        line = self.line_of("    return ")
        self.decide("result", output.name, f"returned as {output.keyword}", line)
        if output.processor:
            line = self.line_of(f"self.{output.processor}.postprocess")
            self.decide("processor", output.processor, "its postprocess moves to the engine process", line)

    def batching(self, arguments: list[ArgumentPlan]) -> None:
        local = [a.name for a in arguments if a.why.reason.startswith("request:")]
        reason = "every argument is shared, or one for each prompt"
        if local:
            reason = f"{local[0]} may differ between requests"
        self.decide("request batch", not local, reason, self.call.lineno)


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
        if part in class_name:
            return role
    if name.startswith("vae") or class_name.startswith("Autoencoder"):
        return "vae"
    return "encoder" if dotted.startswith("transformers.") else "other"


def _source(binding: knowledge.Binding, name: str, default: str, outputs: str) -> str:
    if default == "None" and binding.source.endswith("else {default}"):
        return binding.source.split(" if ")[0]
    if default == "None" and binding is knowledge.EXTRA:
        return f'params.extra_args.get("{name}")'
    text = binding.source.replace("{name!r}", f'"{name}"').replace("{name}", name)
    return text.replace("{default}", default).replace("{outputs}", outputs)


def _embeds_replace_prompts(found: list[ArgumentPlan]) -> list[ArgumentPlan]:
    """Embeddings come first, and a prompt whose embeddings are given is None, as the reference's checks demand."""
    names = {a.name for a in found}
    first = [a for a in found if knowledge.PROMPT_TENSORS.match(a.name)]
    rest = []
    for argument in found:
        embeds = f"{argument.name}_embeds"
        if argument.name in ("prompt", "negative_prompt") and embeds in names:
            value = argument.source if argument.source.endswith("]") else f"({argument.source})"
            argument = ArgumentPlan(
                argument.name, f"None if {embeds} is not None else {value}", argument.default, argument.why
            )
        if argument not in first:
            rest.append(argument)
    outputs = [a for a in rest if a.source == knowledge._OUTPUTS.source]
    return first + outputs + [a for a in rest if a not in outputs]


def _bound_before(entry: cst.FunctionDef, block: list[Any]) -> set[str]:
    names = {p.name.value for p in entry.params.params} - {"self"}
    return names | bound(block)


def _ordered(names: set[str], block: list[Any]) -> list[str]:
    text = " ".join(code(s) for s in block)
    return sorted(names, key=lambda n: match.start() if (match := re.search(rf"\b{n}\b", text)) else 0)
