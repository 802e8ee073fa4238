"""How the inferred sequence parallelism agrees with what others wrote by hand, as a page of docs.

``python -m omniport.corpus.sequence_agreement > docs/agreement-sequence.md`` reads the installed diffusers, cache-dit
and vLLM-Omni.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from omniport.corpus import sequence_oracles as oracles
from omniport.corpus.agreement_page import ORACLES, beginning, package_folder
from omniport.corpus.classes import corpus_classes
from omniport.corpus.hand_written import hand_written
from omniport.errors import OmniportError
from omniport.plan.model import TransformerPlan
from omniport.port import analyse_transformer
from omniport.source.tree import SourceTree

STREAMS = {oracles.IMAGE, oracles.TEXT}
_NAME = "sequence parallelism"


@dataclass(frozen=True)
class Row:
    """One class: what is split here and by each oracle that splits anything, and why it is so here."""

    name: str
    ours: frozenset[str]
    theirs: dict[str, frozenset[str]]
    reason: str


def split_here(plan: TransformerPlan) -> frozenset[str]:
    """What the plan splits, by kind."""
    if plan.region is None:
        return frozenset()
    return frozenset(oracles.kind(tensor.variable, tensor.dims) for tensor in plan.region.split)


def reason(plan: TransformerPlan, theirs: dict[str, frozenset[str]]) -> str:
    """Why the streams that are split here differ from those of some oracle; empty if they do not."""
    feature = next((f for f in plan.features if f.name == _NAME), None)
    ours = split_here(plan) & STREAMS
    if all(found & STREAMS == ours for found in theirs.values()):
        return ""
    if feature is not None and not feature.supported:
        return f"refused: {feature.why.reason} ({feature.why.file.rpartition('/')[2]}:{feature.why.line})"
    if oracles.TEXT in ours:
        return "the text joins the attention of the other tokens, and is split and gathered as they are"
    if any(attention.local for attention in plan.attentions):
        cross = next(attention for attention in plan.attentions if attention.local)
        place = f"{cross.why.file.rpartition('/')[2]}:{cross.why.line}"
        return f"the text is attended to as keys alone, which are whole on each rank ({place})"
    return "" if feature is None else f"the text is whole on each rank: {feature.why.reason}"


def rows() -> list[Row]:
    """Every class that some oracle has a plan for."""
    tree = SourceTree.locate(None)
    planned = oracles.planners(package_folder("cache_dit") / "distributed" / "transformers")
    root = package_folder("vllm_omni").parent
    found = []
    for name, file in corpus_classes(tree).items():
        module = hand_written(root, name)
        port = (root / Path(*module.split("."))).with_suffix(".py").read_text("utf-8") if module else ""
        theirs = {
            ORACLES[0]: oracles.declared((tree.root / file).read_text("utf-8"), name, "_cp_plan"),
            ORACLES[1]: oracles.matching(planned, name),
            ORACLES[2]: oracles.declared(port, name, "_sp_plan") if port else set(),
        }
        given = {oracle: frozenset(kinds) for oracle, kinds in theirs.items() if kinds}
        if not given:
            continue
        try:
            plan = analyse_transformer(tree, name).plan
        except OmniportError as error:
            found.append(Row(name, frozenset(), given, f"not planned: {error}"))
            continue
        found.append(Row(name, split_here(plan), given, reason(plan, given)))
    return found


def page(found: list[Row]) -> Iterator[str]:
    """Markdown: a table class x oracle, and the reason of each difference."""
    text = (
        "What is split over the ranks in a port, in diffusers' `_cp_plan`, in cache-dit's planner and in `_sp_plan` of "
        "vLLM-Omni's hand-written port: *tokens* of the images, videos or sounds, *text* tokens, *tables* of "
        "positions and *times* that go with them. Two plans agree if they split the same streams of tokens; what goes "
        "with the tokens is often computed on each rank instead."
    )
    yield from beginning("python -m omniport.corpus.sequence_agreement", "Sequence parallelism", text)
    for oracle in ORACLES:
        judged = [row for row in found if oracle in row.theirs]
        alike = sum(row.theirs[oracle] & STREAMS == row.ours & STREAMS for row in judged)
        yield f"- {oracle}: {alike} of {len(judged)} plans split the same streams"
    yield ""
    yield "| class | here | " + " | ".join(ORACLES) + " | why they differ |"
    yield "|---|---|---|---|---|---|"
    for row in found:
        cells = [_shown(row.theirs.get(oracle)) for oracle in ORACLES]
        yield f"| {row.name} | {_shown(row.ours)} | {' | '.join(cells)} | {row.reason} |"


def _shown(kinds: frozenset[str] | None) -> str:
    order = (oracles.IMAGE, oracles.TEXT, oracles.TABLES, oracles.TIMES)
    return "" if kinds is None else ", ".join(kind for kind in order if kind in kinds) or "nothing"


def main() -> None:
    """Print the page."""
    print("\n".join(page(rows())))


if __name__ == "__main__":
    main()
