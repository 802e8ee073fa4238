"""How a pipeline guides: its pairs of predictions, and what it passes to the denoiser that others leave out."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from typing import Literal

import libcst as cst

from omniport.analyse import pipeline_knowledge as knowledge
from omniport.analyse import pipeline_reading as reading
from omniport.analyse.demand import GIVEN
from omniport.analyse.knowledge import DROPPED_PARAMETERS
from omniport.analyse.pipeline_forwards import Forwards, count_branches, count_forwards
from omniport.analyse.pipeline_guiders import guiders, scaled
from omniport.analyse.pipeline_record import Record
from omniport.errors import UnsupportedError
from omniport.plan.model import Decision
from omniport.plan.subjects import ALIKE, FORWARDS
from omniport.rewrite.pipeline.denoiser import Denoisers, denoiser_calls, keyword_arguments
from omniport.rewrite.pipeline.guidance import Guided, doubled_for_denoiser, doubling, guided, split
from omniport.rewrite.pipeline.guider_scale import SCALED
from omniport.rewrite.pipeline.narrowed import START
from omniport.rewrite.pipeline.normal import ENTRY, NormalClass
from omniport.rewrite.pipeline.prepared import prepared
from omniport.rewrite.pipeline.walk import all_parameters
from omniport.source.nodes import each_node
from omniport.source.syntax import code, constant

_SCALARS = frozenset({bool, int, float})

Way = Literal["none", "embedded", "sequential", "batched", "whole", "branches"]


class Guidance(Record):
    """Decides about the calls of the denoiser.

    ``unpaired`` is the call with its predictions as single calls, ``conditions`` how many each guider makes (0: not
    known).
    """

    unpaired: cst.FunctionDef
    conditions: tuple[int, ...] = ()

    def given(self, methods: list[cst.FunctionDef], denoisers: Denoisers, line: int) -> None:
        """Arguments that ports of denoisers leave out elsewhere, and for which this pipeline has a value."""
        found: dict[str, None] = {}
        for method in methods:
            names = denoisers.names(method)
            for call in denoiser_calls(method, names):
                explicit = [(a.keyword.value, a.value) for a in call.args if a.keyword is not None]
                for key, value in keyword_arguments(call, denoisers, names) or explicit:
                    left_out = any(p.match(key) for p, _, _ in DROPPED_PARAMETERS) and key not in knowledge.NOT_PORTED
                    if left_out and code(value).strip() not in ("None", "{}"):
                        found[key] = None
        for key in found:
            self.decide(f"{GIVEN} {key}", True, "the pipeline passes a value, so the denoiser's port takes it", line)

    def guidance(self, normal: NormalClass, denoisers: Denoisers, line: int) -> tuple[Way, Guided]:
        entry = self.unpaired = prepared(normal.entry, denoisers)
        way: Way = "sequential"
        if doubling(entry, denoisers):
            helpers = tuple(m for n, m in normal.methods.items() if n not in (ENTRY, "__init__"))
            try:
                self.unpaired = split(entry, helpers, denoisers, (self.module.file, line))
                form = guided(self.unpaired, denoisers)
                if not form.pairs:
                    raise UnsupportedError("the doubled batch cannot be split: its two calls form no pair")
            except UnsupportedError as refusal:
                self.unpaired, form = entry, guided(entry, denoisers)
                if form.pairs and not doubled_for_denoiser(normal.entry, helpers, denoisers):
                    return self.paired(way, form, line)
                self.decide("guidance", "whole", f"one doubled batch on every rank: {refusal.construct}", line)
                return "whole", Guided(entry, (), 0)
            way = "batched"
        else:
            form = guided(entry, denoisers)
        if form.branches:
            for subject, conditions, reason, node in guiders(
                self.source, self.module, self.call, tuple(self.decisions)
            ):
                self.decisions.append(Decision(subject, True, self.why(reason, node)))
                self.conditions += (conditions,)
            for component, class_name in scaled(self.source, tuple(self.decisions)):
                reason = f"{class_name} has its scale from its config; a request may give another"
                self.decide(f"{SCALED} {component}", True, reason, line)
            self.decide("guidance", "branches", "a guider object says which calls a round makes", line)
            return "branches", form
        if not form.pairs:
            embedded = any(name == "guidance" for name in re.findall(r"(\w+)=", code(entry)))
            way = "embedded" if embedded else "none"
            self.decide("guidance", way, f"{form.single} predictions a step, none of them a pair", line)
            return way, form
        return self.paired(way, form, line)

    def forwards(self, normal: NormalClass, form: Guided, denoisers: Denoisers, free: Collection[str]) -> None:
        """How many forwards a step makes, counted before two predictions become one call.

        ``free``: arguments that a request need not give, and of which a port may refuse what breaks a cache.
        """
        if form.branches:
            counted = count_branches(max(self.conditions) if self.conditions and all(self.conditions) else 0)
        else:
            helpers = [method for name, method in normal.methods.items() if name != ENTRY]
            literals = {p.name.value: constant(p.default) for p in all_parameters(self.unpaired.params) if p.default}
            defaults = {n: v for n, v in literals.items() if n in free and (v is None or type(v) in _SCALARS)}
            counted = count_forwards(self.unpaired, helpers, denoisers, defaults)
        line = self._shown(counted, denoisers)
        at = ", ".join(f"{name}={value!r}" for name, value in counted.needs)
        self.decide(FORWARDS, counted.number, f"{counted.reason}{at and f', as long as {at}'}", line)
        for name, value in counted.needs:
            self.decide(f"{ALIKE} {name}", value, f"with another value {counted.otherwise}", line)

    def _shown(self, counted: Forwards, denoisers: Denoisers) -> int:
        """The line that shows it."""
        if counted.method:
            return self.line_in_class(f"def {counted.method}(")
        if counted.at and (line := self.line_with(_question(counted.at))) != self.call.lineno:
            return line
        names = denoisers.names(self.unpaired)
        made = [n for n in each_node(self.call) if isinstance(n, ast.Call) and reading.dotted(n.func) in names]
        lines = sorted(node.lineno for node in made)
        return lines[min(counted.site, len(lines) - 1)] if lines else self.call.lineno

    def paired(self, way: Way, form: Guided, line: int) -> tuple[Way, Guided]:
        """The decisions about pairs of predictions."""
        first = form.pairs[0]
        if {p.form for p in form.pairs} != {first.form} or len({p.combine for p in form.pairs}) > 1:
            raise UnsupportedError("pairs of predictions in different forms", self.module.file, line)
        line = self.line_with(_question(first.guard), line)
        self.decide("guidance guard", first.guard, "the condition under which the second prediction runs", line)
        default = first.combine == "default"
        reason = "equals negative + scale * (positive - negative)" if default else "other formula: kept"
        self.decide("guidance combine", first.combine, reason, line)
        if first.scale is not None:
            self.decide("guidance scale", first.scale, "the factor of that formula", line)
        self.decide("prediction", first.form, "what is used of the denoiser's result", line)
        if any(p.model for p in form.pairs):
            self.decide("denoiser argument", "model", "the call says which denoiser runs", line)
        if any(p.start for p in form.pairs):
            self.decide("prediction start", START, "one side sees more tokens: cut where it is made", line)
        if form.apart:
            why = "each under its own condition, neither reads the other: one call for both"
            self.decide("predictions apart", form.apart, why, line)
        if any(p.third for p in form.pairs):
            why = "a third one of its own arguments, under its own condition: one call for all"
            self.decide("predictions together", 3, why, line)
        how = "mixin" if any(p.stepped for p in form.pairs) else "source"
        reason = "plain step" if how == "mixin" else "the step takes more than prediction, time and latents"
        self.decide("scheduler step", how, reason, self.line_of("self.scheduler.step("))
        return way, form


def _question(guard: str) -> str:
    """A pattern of ``if guard:``, some of whose names may be attributes of the pipeline in the source."""
    own = re.sub(r"(?<![\w.\\])(?=[a-z_])", r"(?:self\\._?)?", re.escape(guard))
    return rf"\b(?:el)?if {own}:"
