"""The facts of a plan, in the form that normalisation takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from omniport.plan.model import Decision
from omniport.plan.subjects import CARRIED, COMPONENT
from omniport.rewrite.pipeline.evaluate import PRESENT
from omniport.rewrite.pipeline.normal import Request

#: Kinds of ``PipelinePlan.dropped``: the first word of the subject.
ARGUMENT, VALUE, CALL, STATEMENT, CONTEXT = "argument", "value", "call", "statement", "context"
METHOD, PARAMETER, SETTING, MADE, CONFIG, RAW = "method", "parameter", "setting", "made", "config", "raw"
CLASS, KINDS, SIGNATURE = "class", "kinds", "signature"
PERTURBED = "perturbed layers"  # subject of the decision which layers are perturbed by default


def of_kind(decisions: Iterable[Decision], kind: str) -> list[Decision]:
    """Decisions whose subject is ``kind`` and a name."""
    return [d for d in decisions if d.subject.startswith(f"{kind} ")]


def name_of(decision: Decision) -> str:
    """The name in a subject such as ``component vae``."""
    return decision.subject.split(" ", 1)[1]


def request(dropped: Iterable[Decision], decisions: Iterable[Decision]) -> Request:
    """What to fold: constants of ``dropped``, and the components of ``decisions`` as present."""
    dropped, decisions = tuple(dropped), tuple(decisions)
    values: list[tuple[str, Any]] = [(name_of(d), d.value) for d in of_kind(dropped, VALUE)]
    values += [(f"self.{name_of(d)}", None) for d in of_kind(dropped, COMPONENT)]
    values += [(f"self.{name_of(d)}", PRESENT) for kind in (COMPONENT, MADE) for d in of_kind(decisions, kind)]
    values += [(name_of(d), PRESENT) for d in of_kind(decisions, CONFIG)]
    init: list[tuple[str, Any]] = [(name_of(d), None) for d in of_kind(dropped, COMPONENT)]
    init += [(name_of(d), None) for d in of_kind(decisions, MADE)]
    init += [(name_of(d), PRESENT) for d in of_kind(decisions, COMPONENT)]
    together = decision(decisions, "request batch")
    layers = decision(decisions, PERTURBED)
    return Request(
        arguments=tuple((name_of(d), d.value) for d in of_kind(dropped, ARGUMENT)),
        values=tuple(values),
        calls=tuple((name_of(d), d.value) for d in of_kind(dropped, CALL)),
        removed_calls=frozenset(name_of(d) for d in of_kind(dropped, STATEMENT)),
        unwrapped=frozenset(name_of(d) for d in of_kind(dropped, CONTEXT)),
        lists=frozenset({"prompt", "negative_prompt"} if together is not None and together.value else ()),
        init=tuple(init),
        carried=tuple((name_of(d), tuple(str(d.value).split(", "))) for d in of_kind(decisions, CARRIED)),
        perturbed=str(layers.value) if layers is not None else None,
        signatures=tuple((name_of(d), frozenset(str(d.value).split(", "))) for d in of_kind(decisions, SIGNATURE)),
        kinds=tuple((name_of(d), frozenset(str(d.value).split(", "))) for d in of_kind(decisions, KINDS)),
        classes=tuple((f"self.{name_of(d)}", frozenset(str(d.value).split(", "))) for d in of_kind(decisions, CLASS)),
        configs=(
            *((name_of(d), tuple(str(d.value).split(", "))) for d in of_kind(decisions, CONFIG)),
            ("self.config", tuple(name_of(d) for d in of_kind(decisions, SETTING))),
        ),
    )


def decision(decisions: Iterable[Decision], subject: str) -> Decision | None:
    """The decision about ``subject``, if there is one."""
    return next((d for d in decisions if d.subject == subject), None)
