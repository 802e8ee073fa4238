"""Plan goldens: one file of facts per transformer class or pipeline."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from omniport.corpus.facts import facts_text


class Planned(Protocol):
    """A class whose plan is known, or why it has none."""

    @property
    def name(self) -> str:
        """Of the class."""

    @property
    def facts(self) -> dict[str, Any]:
        """What was decided."""


def update_goldens(folder: Path, produced: Iterable[Planned]) -> None:
    """Write the facts of every class to ``folder/<class>.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    for done in produced:
        (folder / f"{done.name}.json").write_text(facts_text(done.facts), "utf-8")


def differing(folder: Path, produced: Iterable[Planned]) -> list[str]:
    """Names of the classes whose facts are not those of their golden, or that have none."""
    return sorted(
        done.name
        for done in produced
        if not (path := folder / f"{done.name}.json").is_file() or path.read_text("utf-8") != facts_text(done.facts)
    )
