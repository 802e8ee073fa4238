"""How the inferred tensor parallelism agrees with what others wrote by hand, as a page of docs.

``python -m omniport.corpus.agreement > docs/agreement-tensor.md`` reads the installed diffusers, cache-dit and
vLLM-Omni.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from omniport.analyse.normalise import normalise
from omniport.analyse.tp import infer
from omniport.corpus import oracles
from omniport.corpus.agreement_page import ORACLES, beginning, package_folder
from omniport.corpus.classes import corpus_classes
from omniport.corpus.hand_written import hand_written
from omniport.errors import OmniportError
from omniport.plan.model import LinearPlan
from omniport.source.tree import SourceTree

ROLES = {"qkv": "column", "merged": "column"}


@dataclass(frozen=True)
class Layer:
    """One linear of the port: its role in the words of the oracles, every place where it hangs, and why."""

    linear: LinearPlan
    role: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """A layer that an oracle splits otherwise."""

    oracle: str
    path: str
    theirs: str
    ours: str
    reason: str


def inferred(tree: SourceTree, name: str) -> list[Layer]:
    """The linears of a class with the dotted paths of their instances.

    Raises:
        UnsupportedError: the class cannot be planned.
    """
    normal = normalise(tree, tree.find_class(name, "models"), name).form
    sharding = infer(normal, tree)
    found = []
    for linear in sharding.linears:
        cls, _, attribute = linear.path.partition(".")
        places = [instance.dotted for instance in sharding.facts.instances.get(cls, ())]
        paths = tuple(dict.fromkeys(".".join(filter(None, (place, attribute))) for place in places))
        found.append(Layer(linear, ROLES.get(linear.role, linear.role), paths))
    return found


def by_path(oracle: str, facts: oracles.Facts, layers: list[Layer]) -> tuple[int, list[Difference]]:
    """How many layers an oracle of dotted paths splits alike, and the others.

    A layer that it does not name, in a list of blocks of which it names something, stays whole there.
    """
    if not any(path in facts for layer in layers for path in layer.paths):
        return 0, []  # its names are of another version of the model
    lists = {path.partition(".")[0] for path in facts}
    alike, other = 0, []
    for layer in layers:
        named = {facts[path] for path in layer.paths if path in facts}
        if not named and not any("*" in path and path.partition(".")[0] in lists for path in layer.paths):
            continue
        theirs = min(named, default="replicated")
        if theirs == layer.role:
            alike += 1
        else:
            other.append(_difference(oracle, theirs, layer))
    return alike, other


def by_class(facts: oracles.Facts, layers: list[Layer]) -> tuple[int, list[Difference]]:
    """The same of a hand-written port, whose layers are named by class and attribute."""
    alike, other = 0, []
    for layer in layers:
        cls, _, attribute = layer.linear.path.partition(".")
        names = (layer.linear.path, f"{cls}.{layer.linear.fused or attribute}")
        theirs = next((facts[name] for name in names if name in facts), "")
        if theirs == layer.role:
            alike += 1
        elif theirs:
            other.append(_difference(ORACLES[2], theirs, layer))
    return alike, other


def _difference(oracle: str, theirs: str, layer: Layer) -> Difference:
    return Difference(oracle, layer.linear.path, theirs, layer.role, layer.linear.why.reason)


def page() -> Iterator[str]:
    """Markdown: a table class x oracle, and every difference with the reason of the port."""
    tree = SourceTree.locate(None)
    planned = oracles.planners(package_folder("cache_dit") / "distributed" / "transformers")
    root = package_folder("vllm_omni").parent
    rows: list[tuple[str, list[str], list[Difference]]] = []
    for name, file in corpus_classes(tree).items():
        try:
            layers = inferred(tree, name)
        except OmniportError:
            continue
        module = hand_written(root, name)
        port = (root / Path(*module.split("."))).with_suffix(".py").read_text("utf-8") if module else ""
        found = [
            (by_path(ORACLES[0], facts, layers) if (facts := _declared(tree, file, name)) else None),
            (by_path(ORACLES[1], facts, layers) if (facts := oracles.matching(planned, name)) else None),
            (by_class(oracles.layers(port), layers) if port else None),
        ]
        if any(found):
            cells = ["" if r is None else f"{r[0]} of {total}" if (total := r[0] + len(r[1])) else "-" for r in found]
            rows.append((name, cells, [difference for r in found if r for difference in r[1]]))
    yield from _written(rows)


def _declared(tree: SourceTree, file: str, name: str) -> oracles.Facts:
    return oracles.declared_plan((tree.root / file).read_text("utf-8"), name)


def _written(rows: list[tuple[str, list[str], list[Difference]]]) -> Iterator[str]:
    text = (
        "For each linear of a port: is it split as in diffusers' `_tp_plan`, in cache-dit's planner, in vLLM-Omni's "
        "hand-written port (layers of the same class and attribute)? *column*: over its output, *row*: over its input, "
        "*gathered*: a column whose small output is gathered, *scattered*: a row that cuts a whole input. A layer that "
        "an oracle does not name, in a list of blocks of which it names something, is *replicated* there; -: it names "
        "none of the port's."
    )
    yield from beginning("python -m omniport.corpus.agreement", "Tensor parallelism", text)
    yield "| class | " + " | ".join(ORACLES) + " |"
    yield "|---|---|---|---|"
    for name, cells, _ in rows:
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    yield "## Differences"
    yield ""
    kinds = Counter((d.theirs, d.ours) for _, _, differences in rows for d in differences)
    for (theirs, ours), count in sorted(kinds.items(), key=lambda item: -item[1]):
        yield f"- {count} are {theirs} there and {ours} here"
    for name, _, differences in rows:
        if differences:
            yield from [
                "",
                f"### {name}",
                "",
                "| layer | by hand | inferred | why it is so here |",
                "|---|---|---|---|",
            ]
            for d in differences:
                yield f"| {d.path} | {d.theirs} ({d.oracle}) | {d.ours} | {d.reason} |"


def main() -> None:
    """Print the page."""
    print("\n".join(page()))


if __name__ == "__main__":
    main()
