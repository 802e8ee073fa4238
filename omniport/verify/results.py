"""What a verification says: one state per feature, with its figures and its evidence.  Imports nothing heavy."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from omniport.errors import FindingsError, OmniportError

State = Literal["validated", "limited", "unsupported", "not tested"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    ``value`` is the measured number (None where there is none) and ``limit`` what it may be at most.  ``main`` checks
    decide whether the feature works at all; the others whether it works in every case.
    """

    name: str
    ok: bool
    note: str = ""
    value: float | None = None
    limit: float | None = None
    main: bool = True

    @property
    def said(self) -> str:
        """The check in words, with what was measured where there is a limit."""
        measured = "" if self.value is None or self.limit is None else f" ({self.value:.2g}, limit {self.limit:.2g})"
        return f"{self.name}{measured}{': ' if self.note else ''}{self.note}"


@dataclass(frozen=True)
class BlockError:
    """Relative error of what one block gave back in a call; None where it cannot be compared block by block."""

    call: str
    block: str
    error: float | None


@dataclass(frozen=True)
class Finding:
    """What a feature's checks found.

    ``refused`` is why nothing could be tested, ``machine_failed`` that the reason was the machine, not the port or what
    is known of it; ``undeclared`` says that the port does not claim the feature, which is then unsupported without
    being a failure.
    """

    checks: tuple[Check, ...] = ()
    evidence: tuple[str, ...] = ()
    refused: str = ""
    blocks: tuple[BlockError, ...] = ()
    undeclared: str = ""
    machine_failed: bool = False

    @property
    def state(self) -> State:
        """validated: all checks passed; limited: the main ones did; unsupported: one of those failed."""
        if self.undeclared:
            return "unsupported"
        if self.refused or not self.checks:
            return "not tested"
        if all(c.ok for c in self.checks):
            return "validated"
        return "limited" if all(c.ok for c in self.checks if c.main) else "unsupported"

    @property
    def reason(self) -> str:
        """Why the feature is not validated; empty if it is."""
        if self.refused or self.undeclared:
            return self.refused or self.undeclared
        failed = "; ".join(c.said for c in self.checks if not c.ok)
        return f"failed: {failed}" if failed else ""

    @property
    def figure(self) -> float | None:
        """The worst value among the checks that have a limit of the comparison kind, i.e. a relative error."""
        values = [c.value for c in self.checks if c.value is not None and c.limit is not None and c.limit < 1e-2]
        return max(values, key=lambda v: float("inf") if v != v else v) if values else None


@dataclass(frozen=True)
class FeatureResult:
    """The state of one feature of a port, as it goes into the evidence file.

    ``figure`` is the largest relative error measured (None where the feature compares nothing).  ``digest`` identifies
    the source of the port that was proven, so that evidence for other source is not taken for evidence.  ``declared``
    is False where the port does not claim the feature; ``machine_failed`` as in :class:`Finding`.  ``seconds`` of wall
    time leave out what features share: the checkpoint, the reference's runs and those of the port alone.
    """

    feature: str
    state: State
    figure: float | None
    reason: str
    checks: tuple[Check, ...]
    evidence: tuple[str, ...]
    seconds: float
    command: str
    versions: dict[str, str]
    date: str
    digest: str
    blocks: tuple[BlockError, ...] = ()
    declared: bool = True
    machine_failed: bool = False

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        data = asdict(self)
        data["checks"] = [asdict(c) for c in self.checks]
        data["evidence"] = list(self.evidence)
        data["blocks"] = [asdict(b) for b in self.blocks]
        return data

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> FeatureResult:
        """The inverse of :meth:`to_data`."""
        checks = tuple(Check(**c) for c in data["checks"])
        blocks = tuple(BlockError(**b) for b in data.get("blocks", ()))
        return cls(**{**data, "checks": checks, "evidence": tuple(data["evidence"]), "blocks": blocks})


@dataclass(frozen=True)
class SplitPoint:
    """A tensor that sequence parallelism splits over the ranks, or gathers, along ``dim`` at a module.

    ``after``: it is an output of the module, not an input.
    """

    kind: Literal["split", "gather"]
    what: str
    dim: int
    after: bool


@dataclass(frozen=True)
class ModuleNode:
    """A module of the port's transformer at published size, with what the ranks do with it.

    ``kind``: the role of a linear or convolution (``column``, ``row``, ...), ``attention``, ``norm``, else empty.
    ``count``: how many equal siblings in a row it stands for.  ``parameters``: elements of one of them, over all ranks.
    The children of the root stand in the order in which its forward calls them.
    """

    name: str
    class_name: str
    kind: str
    count: int
    parameters: int
    splits: tuple[SplitPoint, ...] = ()
    children: tuple[ModuleNode, ...] = ()

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> ModuleNode:
        """From plain data, as ``asdict`` makes it."""
        children = tuple(cls.from_data(child) for child in data["children"])
        splits = tuple(SplitPoint(**split) for split in data["splits"])
        return cls(**{**data, "splits": splits, "children": children})


@dataclass(frozen=True)
class VerifyReport:
    """The outcome of one ``verify`` run: only the features asked for, in the order they ran."""

    name: str
    root: str
    results: tuple[FeatureResult, ...]
    seconds: float
    evidence_file: str = ""
    notes: tuple[str, ...] = field(default=())
    tree: ModuleNode | None = None

    @property
    def ok(self) -> bool:
        """Whether every feature asked for is validated that the port declares."""
        return bool(self.results) and all(r.state == "validated" or not r.declared for r in self.results)

    @property
    def exit_code(self) -> int:
        """0; 1: a feature is not what the port declares; 2: the machine failed, which says nothing of the port."""
        if self.ok:
            return 0
        missed = [r for r in self.results if r.state != "validated" and r.declared and not r.machine_failed]
        return FindingsError.exit_code if missed or not self.results else OmniportError.exit_code

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.name,
            "root": self.root,
            "ok": self.ok,
            "seconds": self.seconds,
            "evidence_file": self.evidence_file,
            "notes": list(self.notes),
            "features": [r.to_data() for r in self.results],
        }
