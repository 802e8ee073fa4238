"""What a corpus run says: one result per class and stage.  Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

State = Literal["ok", "failed", "refused", "not reached", "not declared"]

STAGES = ("plan", "scaffold", "import", "load", "parity", "bf16")
FEATURES = {
    "flash": "",
    "tp2": "tensor parallelism",
    "tp4": "tensor parallelism",
    "sp2": "sequence parallelism",
    "sp2-odd": "sequence parallelism",
    "pp2": "pipeline parallelism",
    "hsdp2": "hsdp",
    "layerwise": "layerwise offload",
    "compile": "compile",
    "cache": "cache-dit",
    "lora": "lora",
    "quant": "lora",  # what finds the linears for the one finds them for the other
}
"""Stages that a plan may leave undeclared, and the plan's name of the feature; none where every port must pass."""

REFERENCE = "reference"
"""Stage of a pipeline that has no port: whether diffusers' own class runs, which its reason then says."""

OWN_FAULT = "diffusers' own class fails: "
"""In a reason: the reference raised by itself, so there is nothing to compare a port with."""

ALONE = {name: name for name in ("flash", "layerwise", "compile", "cache", "lora", "quant")}
"""Features that need one rank, and the module of :mod:`omniport.verify.proofs` that proves each."""

CPU = 1.5
"""Seconds of CPU that planning and writing one port may take."""

SHARE = 0.52
"""Most that one of two ranks may hold of the blocks' parameters: half, and norms and biases."""

PARITY = 1e-5
"""Largest relative error of any output of any call, fp32 against fp32 (contract, "Evidence")."""


UNTRIED = "; untried: "
"""In the detail of the stage ``parity``, before the inputs that no form has."""


class StageError(Exception):
    """A stage found the port wrong; the message says how."""


@dataclass(frozen=True)
class StageResult:
    """One stage of one class.

    ``refused`` is the tool's own answer that it does not understand a construct, with file, line and construct in
    ``reason``; ``failed`` is everything else that went wrong; ``not reached`` follows either, ``not declared`` is a
    feature that the plan does not claim.  ``figure`` is the largest relative error, of ``scaffold`` the seconds of CPU
    that planning and writing took; ``detail`` is one line of counts.  ``measures`` of ``tp2``: the ``share`` of the
    blocks' parameters that one of two ranks holds at published size, and collectives for each block (``reduces``,
    ``gathers``).
    """

    stage: str
    state: State
    reason: str = ""
    detail: str = ""
    figure: float | None = None
    seconds: float = 0.0
    measures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class LeftOut:
    """What a port leaves out of its reference: an input or a value of a config key, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class ClassResult:
    """All stages of one transformer class, in their order."""

    name: str
    file: str
    stages: tuple[StageResult, ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every stage passed."""
        return bool(self.stages) and all(stage.state in ("ok", "not declared") for stage in self.stages)

    def stage(self, name: str) -> StageResult | None:
        """The result of one stage; None if the run had no such stage."""
        return next((s for s in self.stages if s.stage == name), None)

    @property
    def attention(self) -> str:
        """Who computes attention: vLLM-Omni's layer, the reference's own calls, or both; empty if not written."""
        found = re.search(r"(\d+) attention layers, (\d+) attention", (s := self.stage("scaffold")) and s.detail or "")
        if found is None:
            return ""
        layers, own = int(found[1]), int(found[2])
        return " + ".join([*(["layer"] if layers else []), *(["own"] if own else [])]) or "none"

    @property
    def reason(self) -> str:
        """Why the first stage that did not pass did not; empty if all passed."""
        return next((f"{s.stage}: {s.reason}" for s in self.stages if s.state in ("failed", "refused")), "")


@dataclass(frozen=True)
class CorpusReport:
    """A whole run: classes in the order of their names, versions, date (UTC) and wall time in seconds."""

    classes: tuple[ClassResult, ...]
    stages: tuple[str, ...]
    versions: dict[str, str]
    date: str
    seconds: float

    @property
    def ok(self) -> int:
        """How many classes passed every stage."""
        return sum(c.ok for c in self.classes)

    def passed(self, stage: str) -> int:
        """How many classes passed a stage."""
        return sum((r := c.stage(stage)) is not None and r.state == "ok" for c in self.classes)

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def beside_the_reference(stages: Sequence[StageResult]) -> list[StageResult]:
    """The stages, where the one of :data:`REFERENCE` is told in the reason of the one that did not pass."""
    told = [s for s in stages if s.stage != REFERENCE]
    for reference in (s for s in stages if s.stage == REFERENCE):
        says = reference.reason if reference.state == "failed" else "diffusers' own class runs"
        at = next((i for i, s in enumerate(told) if s.state in ("failed", "refused")), None)
        if at is not None:
            told[at] = replace(told[at], reason=f"{told[at].reason}; {says}")
    return told


def completed(
    stages: list[StageResult], names: tuple[str, ...], undeclared: Mapping[str, str]
) -> tuple[StageResult, ...]:
    """The stages by name, those that were not reached or not declared (feature -> reason) filled in."""
    known = {s.stage: s for s in stages}
    return tuple(
        known.get(name)
        or StageResult(name, "not declared" if name in undeclared else "not reached", undeclared.get(name, ""))
        for name in names
    )
