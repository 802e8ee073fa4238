"""TODOs of a port as its present source has them: what was closed by hand since the scaffold is not told again."""

from __future__ import annotations

from itertools import zip_longest

from omniport.plan.model import Decision, PortPlan, Why
from omniport.plan.todos import Marker, markers
from omniport.verify.port import Port


def left(port: Port, plan: PortPlan) -> tuple[Decision, ...]:
    """A TODO for each marker in the files of the port, with the plan's evidence where it is one of the plan's.

    Of several with one id, the plan's that say what the marker says come first, the others in their order.
    """
    present: dict[str, list[tuple[str, Marker]]] = {}
    for file in port.sources():
        if file.suffix == ".py":
            for marker in markers(file.read_text("utf-8")):
                place = file.relative_to(port.root).as_posix()
                present.setdefault(marker.identity, []).append((place, marker))
    found: list[Decision] = []
    for identity, places in present.items():
        known = [t for t in plan.todos if t.subject == identity]
        told: list[Decision] = []
        strange = []
        for place, marker in places:
            same = next((t for t in known if t not in told and _says(t, marker)), None)
            if same is None:
                strange.append((place, marker))
            else:
                told.append(same)
        rest = [t for t in known if t not in told]
        for (place, marker), todo in zip_longest(strange, rest[: len(strange)]):
            told.append(todo or Decision(identity, marker.text or "open", Why("", place, marker.line)))
        found += told
    order = list(plan.todos)
    return tuple(sorted(found, key=lambda todo: order.index(todo) if todo in order else len(order)))


def _says(todo: Decision, marker: Marker) -> bool:
    """The text behind the marker is the end of what the plan says, or the first line of it."""
    text = marker.text.rstrip(")\"' ")
    return bool(text) and (str(todo.value).endswith(text) or text in str(todo.value))
