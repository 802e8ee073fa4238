"""What a port changes in the files of a tree, beside its own folder and its rows in the registry.

One module for each kind of row; each finds its place by what the tree says, and leaves a tree alone that has no such
place.
"""

from __future__ import annotations

from omniport.emit.edits import (
    alignment,
    cache_enabler,
    example_rows,
    features_table,
    metadata,
    no_cache,
    offload_page,
    recipe_row,
    supported_models,
)
from omniport.emit.edits.base import Context, Edit

__all__ = ["Context", "Edit", "all_edits"]

_KINDS = (
    no_cache,
    metadata,
    cache_enabler,
    supported_models,
    features_table,
    offload_page,
    example_rows,
    recipe_row,
    alignment,
)


def all_edits(context: Context) -> list[Edit]:
    """Every edit that the tree has a place for."""
    return [edit for kind in _KINDS for edit in kind.edits(context)]
