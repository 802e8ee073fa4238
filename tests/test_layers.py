"""Rooms stand on one another: a module imports from its own floor and from those below, and no imports go in a circle.

Imports within functions and those for types alone count, too: what is late is still needed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "omniport"

#: Floors from the ground up; the longest name that a module's own begins with says where it stands.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("beside", "errors", "folders", "progress", "records", "strict_json", "strict_toml"),
    ("plan",),
    ("source",),
    ("target",),
    # recipes of pipelines, as data: what models publish that no signature tells
    ("verify.components.encoders", "verify.pipelines"),
    ("hub",),
    ("classify",),
    # what is known of diffusers before anything is read
    ("analyse.knowledge", "analyse.modes", "analyse.pipeline_knowledge", "analyse.values", "analyse.variants"),
    ("analyse.pipeline_reading",),  # questions to the text of a pipeline class, which answer nothing by themselves
    # normal forms of the reference's classes, which the analysis reads and what is written starts from
    ("rewrite.syntax", "rewrite.negation", "rewrite.normal", "rewrite.pipeline"),
    ("analyse",),
    (
        "rewrite",
        *(
            f"rewrite.pipeline.{name}"
            for name in (
                "annotations",
                "forward",
                "imports",
                "init",
                "loop",
                "module",
                "post",
                "returned",
                "seeded",
                "strings",
            )
        ),
    ),
    ("emit", "recorded"),
    ("custom.code", "custom.dependencies"),  # reading a model's own code, which a rule of `check` does as well
    ("check", "verify"),
    ("report",),
    ("check.api", "verify.api"),  # what the commands call: they write reports
    ("ahead", "custom", "doctor", "port", "proven", "remove", "scaffold", "update"),
    ("examples", "options", "output"),
    ("cli",),
    ("__main__",),
    ("corpus",),
)


def modules() -> dict[str, str]:
    """Dotted name below the package -> text."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        if "templates" not in (parts := file.relative_to(PACKAGE).with_suffix("").parts):
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file.read_text("utf-8")
    return found


def imports(text: str, known: Iterable[str]) -> Iterator[str]:
    """Modules of the package that a module imports."""
    for node in ast.walk(ast.parse(text)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name.removeprefix("omniport.") in known else str(node.module) for name in full]
        yield from (name.removeprefix("omniport.") for name in names if name.startswith("omniport."))


def graph(texts: Mapping[str, str]) -> dict[str, set[str]]:
    return {name: set(imports(text, texts.keys())) - {name} for name, text in texts.items()}


def floor(module: str) -> int:
    names = {name: at for at, floor in enumerate(FLOORS) for name in floor}
    while module not in names and "." in module:
        module = module.rpartition(".")[0]
    return names[module]


def upward(edges: Mapping[str, set[str]]) -> set[tuple[str, str]]:
    """Imports of something that stands on a higher floor."""
    return {(a, b) for a, found in edges.items() if a for b in found if floor(b) > floor(a)}


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """A circle for each module that comes upon itself again."""
    found: list[list[str]] = []
    done: set[str] = set()

    def follow(name: str, path: list[str]) -> None:
        if name in path:
            found.append([*path[path.index(name) :], name])
        elif name not in done:
            for other in sorted(edges.get(name, ())):
                follow(other, [*path, name])
            done.add(name)

    for name in edges:
        follow(name, [])
    return found


def with_line(where: str, line: str, edges: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """What a module would import with one more line."""
    return {where: edges[where] | set(imports(line, edges))}


@pytest.fixture(scope="module")
def edges() -> dict[str, set[str]]:
    return graph(modules())


def test_no_room_imports_from_above(edges: dict[str, set[str]]) -> None:
    assert upward(edges) == set()


def test_no_imports_go_in_a_circle(edges: dict[str, set[str]]) -> None:
    assert circles(edges) == []


def test_every_floor_holds_something(edges: dict[str, set[str]]) -> None:
    for names in FLOORS:
        for name in names:
            assert any(module == name or module.startswith(f"{name}.") for module in edges), name


@pytest.mark.parametrize(
    ("where", "line", "found"),
    [
        ("plan.model", "from omniport.analyse import tp", ("plan.model", "analyse.tp")),
        ("analyse.tp", "from omniport.rewrite.pipeline import module", ("analyse.tp", "rewrite.pipeline.module")),
        ("rewrite.layers", "def f():\n    import omniport.emit.port", ("rewrite.layers", "emit.port")),
        ("report.plan", "from omniport.corpus.run import run_corpus", ("report.plan", "corpus.run")),
    ],
)
def test_an_import_from_above_is_seen(
    where: str, line: str, found: tuple[str, str], edges: dict[str, set[str]]
) -> None:
    assert upward(edges | with_line(where, line, edges)) == {found}


def test_a_circle_is_seen(edges: dict[str, set[str]]) -> None:
    line = "if TYPE_CHECKING:\n    from omniport.source.tree import SourceTree"
    found = circles(edges | with_line("source.reading", line, edges))
    assert found and all({"source.reading", "source.tree"} <= set(circle) for circle in found)
