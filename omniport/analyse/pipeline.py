"""A diffusers pipeline class to a plan: components, arguments, what goes, guidance, denoising and output."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import libcst as cst

from omniport.analyse import pipeline_knowledge as knowledge
from omniport.analyse import pipeline_reading as reading
from omniport.analyse.demand import MEMBER, PERTURBED, PROCESSOR, SHARED, WITHOUT
from omniport.analyse.pipeline_arguments import apart, media_keys, prompt_kinds
from omniport.analyse.pipeline_arguments import arguments as find_arguments
from omniport.analyse.pipeline_carried import carried_entries, carries
from omniport.analyse.pipeline_components import (
    Component,
    Index,
    component_role,
    component_roles,
    constructor_decisions,
    kept_buffers,
    settings,
)
from omniport.analyse.pipeline_entries import entered
from omniport.analyse.pipeline_guidance import Guidance
from omniport.analyse.pipeline_loop import denoiser_attributes, denoiser_members, find_span, handed_on, through_loop
from omniport.analyse.pipeline_output import Output, Processed, find_output, find_processed
from omniport.analyse.pipeline_perturbed import LAYERS, perturbation, with_parameter
from omniport.analyse.pipeline_scheduler import step_signatures
from omniport.analyse.pipeline_stages import stages
from omniport.analyse.pipeline_swaps import swaps
from omniport.analyse.pipeline_warm_up import no_warm_up
from omniport.errors import UnsupportedError, refusing
from omniport.plan.model import Decision, PipelinePlan, Why
from omniport.plan.subjects import CARRIED, STAGES, STAYS
from omniport.rewrite.pipeline import access, facts
from omniport.rewrite.pipeline.blocks import suite
from omniport.rewrite.pipeline.denoiser import Denoisers
from omniport.rewrite.pipeline.liveness import live_in
from omniport.rewrite.pipeline.normal import ENTRY, NormalClass, normalise
from omniport.rewrite.pipeline.perturbed import FIND
from omniport.rewrite.pipeline.processor import buildable
from omniport.rewrite.pipeline.walk import calls
from omniport.source.nodes import each_node
from omniport.source.syntax import code
from omniport.source.tree import SourceTree

if TYPE_CHECKING:
    from omniport.target.features import TargetFeatures

__all__ = ["Component", "Index", "analyse_pipeline", "component_role"]


@refusing("reading the pipeline")
def analyse_pipeline(
    source: SourceTree, class_name: str, index: Index, features: TargetFeatures, *, name: str
) -> PipelinePlan:
    """Decide how ``class_name`` becomes the pipeline of port ``name``.

    Raises:
        UnsupportedError: the class, or the target, has a form that no rule covers yet; the message names it.
    """
    for flag in ("cfg_mixin", "progress_bar"):
        if not getattr(features, flag):
            raise UnsupportedError(
                f"this vLLM-Omni tree has no {flag}: its pipelines have another interface; give a tree of 0.18 or newer"
            )
    module = source.exported_class(class_name, "pipelines")
    module, class_name = reading.followed(source, module, class_name)
    return _Analysis(source, module, class_name, index, name).plan()


class _Analysis(Guidance):
    def plan(self) -> PipelinePlan:
        self.own_denoising()
        for decision in constructor_decisions(self.source, self.module, self.node, self.init, self.index):
            (self.dropped if decision.value is None else self.decisions).append(decision)
        self.decisions += step_signatures(self.source, self.module, tuple(self.decisions))
        self.batching()
        denoisers = self.denoisers()
        if not self.perturbed():
            self.processors(denoisers)
        self.decided()
        arguments, gone, outputs = find_arguments(self.node, self.call, self.module)
        self.dropped += gone
        self.decisions += prompt_kinds(arguments)
        normal = normalise(self.module, self.class_name, facts.request(self.dropped, self.decisions))
        self.gone(normal)
        kept = list(normal.methods.values())
        self.staying(normal)
        self.strangers(normal, denoisers)
        members = self.members(denoiser_members(kept, denoisers))
        if (function := handed_on(kept, denoisers)) is not None:
            reason = f"{function} gets the denoiser itself, and may call its modules"
            self.decide(SHARED, True, reason, self.line_in_class(f"{function.rpartition('.')[2]}("))
        line = self.line_of("self.transformer(")
        self.given(kept, denoisers, line)
        way, form = self.guidance(normal, denoisers, line)
        self.forwards(normal, form, denoisers, {a.name for a in arguments if a.why.reason.startswith("extra:")})
        output = find_output(form.entry, self.module.file, self.line_of("    return "))
        self.loop_names(form.entry, denoisers, line)
        processed = self.result(normal, form.entry, output)
        self.decide(STAGES, *stages(form, processed, tuple(self.decisions), denoisers, self.module.file, line), line)
        used = live_in(suite(form.entry.body))
        arguments = [a for a in arguments if a.name in used]
        if outputs and outputs not in used:
            arguments = [replace(a, source=re.sub(rf"\b{outputs}\b", "1", a.source)) for a in arguments]
            outputs = "1"
        if outputs:
            self.decide("outputs per prompt", outputs, "how many outputs one request asks for", self.call.lineno)
        if media := media_keys(arguments):
            self.decide("media", ", ".join(media), "read from multi_modal_data", self.call.lineno)
        places = {place for place, name in self.module.imports.values() if name is not None and name.isupper()}
        others = [found for place in sorted(places) if (found := self.source.module(place)) is not None]
        cold = no_warm_up(self.node, self.call, arguments, [self.module, *others], self.denoiser_class)
        if cold[0]:
            self.decide("warm-up", False, *cold)
        read = (*self.config_values(denoiser_attributes(kept, denoisers)), *members)
        return PipelinePlan(
            class_name=self.class_name,
            module=self.module.name,
            output=output.kind,
            arguments=tuple(arguments),
            dropped=tuple(self.dropped),
            cfg=way,
            transformer_attributes=tuple(dict.fromkeys(read)),
            post_process=f"get_{self.name}_post_process_func" if processed else None,
            pre_process=None,
            decisions=tuple(self.decisions),
        )

    def perturbed(self) -> bool:
        """Whether the class perturbs attention, and how."""
        how = perturbation(self.source, self.module, self.node, self.denoiser_class)
        if how is None:
            return False
        self.decide(facts.PERTURBED, how.layers, "the default of the constructor", how.line)
        self.decide(PERTURBED, how.kind, "what the exchanged processors do to the last side of a batch", how.line)
        for name in how.without:
            self.decide(f"{WITHOUT} {name}", None, "the exchanged processors leave out what it adds", how.line)
        self.call = with_parameter(self.call, LAYERS, how.layers)
        return True

    def processors(self, denoisers: Denoisers) -> None:
        """The processors that the constructor sets on lists of blocks: the denoiser's port has them from the start."""
        names = [name.removeprefix("self.") for name in denoisers.attributes]
        for swap in swaps(self.source, self.module, self.node, names):
            why = "the constructor sets it on each block of the list: what the port's forward is made of"
            self.decide(f"{PROCESSOR} {swap.place}", swap.processor, why, swap.line)
            done = Decision(f"{facts.STATEMENT} self.{swap.method}", None, Why(why, self.module.file, swap.line))
            if done.subject not in {d.subject for d in self.dropped}:
                self.dropped.append(done)

    def own_denoising(self) -> None:
        """Refuse a class whose call only runs other pipelines, which its constructor makes of its components."""
        made = reading.pipelines_made(self.init)
        ran = [n for n in each_node(self.call) if isinstance(n, ast.Call) and reading.dotted(n.func) in made]
        own = any(
            isinstance(n, ast.Call) and reading.dotted(n.func) == "self.transformer" for n in each_node(self.call)
        )
        if ran and not own:
            names = ", ".join(dict.fromkeys(made[reading.dotted(n.func) or ""] for n in ran))
            reason = f"the call runs other pipelines, which are ported by themselves: {names}"
            raise UnsupportedError(reason, *self.at(min(ran, key=lambda n: n.lineno)))

    # ---------------------------------------------------------------------------------------------------- denoisers
    def denoisers(self) -> Denoisers:
        """The denoisers with the parameters of their forward, and a decision for each."""
        found = []
        for name, (dotted, role) in component_roles(tuple(self.decisions)).items():
            if role != "dit":
                continue
            module, _, class_name = dotted.rpartition(".")
            found_in = self.source.module(module)
            if found_in is None:
                raise UnsupportedError(f"{self.class_name}: {dotted} is no class of the package", *self.at(self.init))
            node = found_in.class_def(class_name)
            methods = {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}
            if "forward" not in methods or "__init__" not in methods:
                raise UnsupportedError(f"{class_name} does not define both __init__ and forward itself", module)
            own = tuple(a.arg for a, _ in reading.parameters(methods["forward"], module, stars=True))
            found.append((f"self.{name}", own))
            self.decide(f"denoiser self.{name}", ", ".join(own), "parameters of its forward", self.init.lineno)
            self.denoiser_class = node
            self.decisions.extend(kept_buffers(self.source, module))
            keys = ", ".join(a.arg for a, _ in reading.parameters(methods["__init__"], module, stars=True))
            self.decide(f"{facts.CONFIG} self.{name}.config", keys, "parameters of its constructor", self.init.lineno)
        if not found:
            raise UnsupportedError(
                f"{self.class_name} runs no transformer, and only transformers are ported", *self.at(self.init)
            )
        if len({p for _, p in found}) > 1:
            raise UnsupportedError("denoisers of different classes", *self.at(self.init))
        bare = reading.returns_bare(self.denoiser_class)
        lists = not bare and reading.returns_lists(self.denoiser_class)
        result = "tensor" if bare else "lists" if lists else "tuple"
        self.decide("denoiser result", result, "what return_dict=False gives", self.init.lineno)
        return Denoisers(tuple(found), bare=bare, lists=lists)

    def members(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Members that are constructor parameters, which the port keeps; the others are decided on their own."""
        node = self.denoiser_class
        init = next(n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
        parameters = {a.arg for a, _ in reading.parameters(init, self.module.file, stars=True)}
        own = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
        own |= {reading.dotted(t) or "" for n in each_node(node) if isinstance(n, ast.Assign) for t in n.targets}
        for name in names:
            if name in parameters or name == FIND:
                continue
            line = self.line_in_class(f".{name}")
            if name not in own and f"self.{name}" not in own:
                raise UnsupportedError(
                    f"self.transformer.{name}: a member that {node.name} does not define itself", self.module.file, line
                )
            self.decide(f"{MEMBER} {name}", True, "the pipeline uses it", line)
        return tuple(n for n in names if n in parameters)

    def config_values(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those that the constructor takes; the others are read off the published config, which need not have them."""
        node = self.denoiser_class
        init = next(n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
        parameters = {a.arg for a, _ in reading.parameters(init, self.module.file, stars=True)}
        for name in (n for n in names if n not in parameters):
            reason = "no parameter of the denoiser: the published config may have it, else it is None"
            self.decide(f"{facts.RAW} {name}", True, reason, self.line_in_class(f".config.{name}"))
        return tuple(n for n in names if n in parameters)

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
        self.carried()

    def attention_arguments(self, names: Mapping[str | None, ast.AST]) -> None:
        """``self._x_attention_kwargs`` is None where the class never stores more than the argument itself in it."""
        for name, node in names.items():
            if not name or not knowledge.ATTENTION_ARGUMENTS.match(name):
                continue
            kept = f"self._{name.removeprefix('self.').removeprefix('_')}"
            stores = [s for n in (name, kept) for s in reading.stores(self.node, n)]
            if all(reading.stores_argument(s) or carries(s) for s in stores):
                why = self.why("holds the dropped argument and IP-adapter entries, nothing else", node)
                self.dropped.append(Decision(f"{facts.VALUE} {name}", None, why))

    def carried(self) -> None:
        """Entries of attention arguments that hold data: the denoiser's port takes each by its own name."""
        for parameter, (keys, node) in carried_entries(self.call).items():
            why = self.why("attention arguments that hold data: a parameter of the denoiser's port for each", node)
            self.decisions.append(Decision(f"{CARRIED} {parameter}", ", ".join(keys), why))

    def gone(self, normal: NormalClass) -> None:
        methods = {n.name: n for n in self.node.body if isinstance(n, ast.FunctionDef)}
        for name in normal.dropped_methods:
            if name not in methods:
                continue  # one that the rewrite has added
            why = self.why("nothing that is kept uses it", methods[name])
            self.dropped.append(Decision(f"{facts.METHOD} {name}", None, why))
        for method, name in normal.dropped_parameters:
            if method != ENTRY:
                why = self.why("every call leaves it None, or nothing reads it", methods[method])
                self.dropped.append(Decision(f"{facts.PARAMETER} {method}.{name}", None, why))

    def staying(self, normal: NormalClass) -> None:
        """Encoders that something else than their forward runs: no offload may take them away."""
        names = tuple(n for n, (_, role) in component_roles(tuple(self.decisions)).items() if role == "encoder")
        own = {n.name: n for n in self.node.body if isinstance(n, ast.FunctionDef)}
        if not entered(own, names):
            return
        kept = {
            n: m
            for n, method in normal.methods.items()
            if isinstance(m := ast.parse(code(method)).body[0], ast.FunctionDef)
        }
        for name, call in entered(kept, names).items():
            reason = f"{call}() runs a part of it, which offload cannot see: that wraps its forward"
            self.decide(f"{STAYS} {name}", True, reason, self.line_in_class(f"{call}("))

    def strangers(self, normal: NormalClass, denoisers: Denoisers) -> None:
        """Refuse what the port would not have: members of DiffusionPipeline and of mixins."""
        known = set(settings(tuple(self.decisions)))
        own = access.defined(normal, self.node) | set(component_roles(tuple(self.decisions)))
        own |= {facts.name_of(d) for d in facts.of_kind(self.decisions, facts.MADE)}
        inherited: set[str] | None = None  # read when first asked for
        for method in normal.methods.values():
            if access.foreign(method, denoisers.attributes, own | known | access.REPLACED) is None:
                continue  # renaming brings in nothing that the port lacks
            renamed = access.rename(method, denoisers.attributes, known)
            while found := access.foreign(renamed, denoisers.attributes, own | known):
                name = found[0].removeprefix("self.")
                if inherited is None:
                    inherited = reading.inherited(self.source, self.module, self.node)
                if "." not in name and name not in inherited and not calls(renamed, found[0]):
                    line = self.line_in_class(found[0])
                    self.decide(f"undefined {name}", True, "read, and defined nowhere: kept as it is", line)
                    known.add(name)
                    continue
                raise UnsupportedError(found[1], self.module.file, self.line_in_class(found[0]))

    def loop_names(self, entry: cst.FunctionDef, denoisers: Denoisers, line: int) -> None:
        order, results = through_loop(entry, find_span(entry, denoisers, self.module.file, line))
        self.decide("diffuse arguments", ", ".join(order), "names that the loop reads and the call binds before", line)
        if not results:
            raise UnsupportedError("the denoising leaves nothing behind", self.module.file, line)
        self.decide("diffuse results", ", ".join(results), "names that the loop binds and the call reads after", line)

    def result(self, normal: NormalClass, entry: cst.FunctionDef, output: Output) -> Processed | None:
        line = self.line_of("    return ")
        self.decide("result", output.source, f"returned as {', '.join(k for k, _ in output.values)}", line)
        if output.dropped:
            self.decide("result dropped", ", ".join(output.dropped), "no media: an answer has no place for it", line)
        found = find_processed(entry, output)
        if isinstance(found, Processed):
            refusal = buildable(found.processor, normal.methods["__init__"], self.source, self.module)
            if not refusal:
                line = self.line_of(f"self.{found.processor}.{found.method}")
                self.decide("processor", found.processor, "its work moves to the engine process", line)
                return found
            found = refusal
        if found:
            self.decide("post-processing", "worker", found, line)
        return None

    def batching(self) -> None:
        reason = apart(self.call, self.module)
        together = not reason
        reason = reason or "every argument is shared, or one for each prompt"
        self.decide("request batch", together, reason, self.call.lineno)
