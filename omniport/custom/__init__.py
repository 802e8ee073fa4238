"""Custom model repositories (Path B): read as text, every role with its score and evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omniport.errors import refusing
from omniport.plan.custom import CustomPlan
from omniport.plan.model import Why

if TYPE_CHECKING:
    from omniport.custom.code import CodeTree

__all__ = ["read_repository"]


@refusing("reading the repository")
def read_repository(
    root: Path,
    backbone: str | None = None,
    media: str | None = None,
    components: tuple[tuple[str, Why], ...] = (),
    code: CodeTree | None = None,
) -> CustomPlan:
    """The role report of the code at ``root``.

    Args:
        root: folder of the model's own code.
        backbone: ``file.py:Class`` of the denoiser, where the reader cannot tell.
        media: what it takes and gives, where the reader cannot tell (:mod:`omniport.custom.media`).
        components: classes that an index names beside the denoiser.
        code: what is at ``root``, where it was read before.

    Raises:
        OmniportError: the folder cannot be read, ``backbone`` names no class in it, or ``media`` has no such form.
    """
    from omniport.custom import accept, dependencies, licence, weights
    from omniport.custom.code import read_code
    from omniport.custom.facts import Facts
    from omniport.custom.media import decide
    from omniport.custom.signals import SIGNALS
    from omniport.custom.signals import media as media_signal

    tree = code if code is not None else read_code(root)
    facts = Facts(tree)
    found = [candidate for find in SIGNALS for candidate in find(facts)]
    found.sort(key=lambda c: (-c.score, c.file, c.line))
    chosen, questions = accept.backbone(facts, [c for c in found if c.role == "backbone"], backbone)
    seen = media_signal.find(facts, chosen, found, components) if chosen is not None else None
    text, permissive = licence.find(tree)
    return CustomPlan(
        source=f"{root.name}: {len(tree.files)} Python files",
        backbone=chosen,
        candidates=(*found, *(seen.candidates() if seen is not None else ())),
        dependencies=dependencies.find(tree),
        weights=weights.named(tree),
        hazards=weights.hazards(tree),
        licence=text,
        permissive=permissive,
        questions=questions,
        notes=tree.notes,
        media=decide(seen, media) if seen is not None else None,
    )
