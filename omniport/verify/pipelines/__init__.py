"""Recipes of pipelines, as data: one file per kind.  Imports nothing heavy."""

from __future__ import annotations

from omniport.verify.pipelines.audio import AUDIO
from omniport.verify.pipelines.form import Recipe
from omniport.verify.pipelines.image import IMAGE
from omniport.verify.pipelines.video import VIDEO

RECIPES: dict[str, Recipe] = {**AUDIO, **IMAGE, **VIDEO}
"""By class; by class and name, with a space between, for a published form that has other components."""

__all__ = ["RECIPES", "Recipe", "published"]


def published(name: str) -> dict[str, str]:
    """Component -> ``library.Class`` that models of pipeline ``name`` publish, where the source does not tell."""
    return dict(RECIPES[name].components) if name in RECIPES else {}
