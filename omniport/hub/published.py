"""Which class each component of a pipeline has: what the index says, and what models publish instead.  Light."""

from __future__ import annotations

from dataclasses import replace

from omniport.hub.index import Component, ModelIndex
from omniport.verify.pipelines.form import Recipe


def with_published(index: ModelIndex, recipe: Recipe) -> ModelIndex:
    """The index with the published classes of a recipe in place of bases, and its settings."""
    components = dict(index.components)
    data = dict(index.data)
    for name, path in recipe.components.items():
        library, _, class_name = path.rpartition(".")
        components[name] = Component(library, class_name) if path else None
        data[name] = [library, class_name] if path else [None, None]
    return replace(index, components=components, data={**data, **recipe.settings})


def entries_of(index: ModelIndex) -> dict[str, tuple[str, str] | None]:
    """Component -> (library, class name), None where it is absent."""
    found = index.components
    return {n: (c.library, c.class_name) if c is not None else None for n, c in found.items()}
