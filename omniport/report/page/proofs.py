"""What of a custom repository's port is proved, and what is left: a row per part, from its source and the evidence."""

from __future__ import annotations

from omniport.plan.model import Decision
from omniport.plan.todos import blocks
from omniport.records import dataclass
from omniport.report.page.facts import PortReport
from omniport.report.parts import place

#: part -> the features of ``verify`` that prove it, the ids of what may be left of it
PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "transformer": (("load",), ("NATIVE", "BASE")),
    "attentions": (("parity",), ("ATTN",)),
    "tensor names": (("load",), ("REMAP",)),
    "configs": ((), ("CONFIG",)),
    "fusion and other models": ((), ("FUSION", "SUBMODEL", "COMPONENT")),
    "pipeline": (("import", "e2e"), ("ENCODE_PROMPT", "DENOISE", "DECODE", "MEDIA")),
    "weights to fetch": ((), ("REVISION", "REPO_ID")),
    "licence": ((), ("LICENCE",)),
    "dependencies": ((), ("DEPENDENCY",)),
}
OTHER = "other"


@dataclass(frozen=True)
class Part:
    """``proved`` holds a line for each validated feature, ``open`` one for each that is not, with the reason."""

    name: str
    proved: tuple[str, ...]
    open: tuple[str, ...]
    todos: tuple[str, ...]

    @property
    def state(self) -> str:
        """A part with TODOs is not proved, whatever else is."""
        if self.todos:
            return "TODO"
        return "proved" if self.proved and not self.open else "not proved"


def parts(report: PortReport) -> list[Part]:
    """The parts; empty for a port of a diffusers class, whose features say all."""
    if report.manifest.inputs.get("form") != "custom":
        return []
    known = {identity for _, ids in PARTS.values() for identity in ids}
    unknown = tuple(dict.fromkeys(t.subject for t in report.todos if t.subject not in known))
    found = []
    for name, (features, ids) in {**PARTS, **({OTHER: ((), unknown)} if unknown else {})}.items():
        proved, rest = [], []
        for feature in features:
            result = report.results.get(feature)
            if result is not None and result.state == "validated":
                proved.append(f"{feature}: {'; '.join(result.evidence)} ({result.command})")
            else:
                rest.append(f"{feature}: {'no evidence for this source' if result is None else result.reason}")
        todos = tuple(_line(t) for t in report.todos if t.subject in ids)
        if not features and not todos:
            rest.append("no TODO of it is left, and no feature of verify looks at it")
        found.append(Part(name, tuple(proved), tuple(rest), todos))
    return found


def _line(todo: Decision) -> str:
    where = place(todo.why)
    kind = "blocking" if blocks(todo.subject) else "not blocking"
    return f"{todo.subject}, {kind}: {todo.value}{f' ({where})' if where else ''}"
