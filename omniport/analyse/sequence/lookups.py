"""Rows of a table that are looked up by indices, one for each token: the indices are split, the table is whole."""

from __future__ import annotations

import ast
from typing import Any

from omniport.analyse.sequence.merged import MergedRows
from omniport.analyse.shapes import Tensor


class LookupRules(MergedRows):
    """Follows ``F.embedding(positions, table)``."""

    def token_call(self, name: str, x: Any, args: list[Any], kwargs: dict[str, Any], node: ast.Call) -> Any:
        table = args[0] if name == "embedding" and len(args) == 1 and not kwargs else None
        if isinstance(x, Tensor) and x.dims and isinstance(table, Tensor):
            table = self.of_rank(table, 2)
            if len(table.dims or ()) == 2:
                # any index may be given: the table has no row for each token
                self.settled.update(self.made_of(table.known[0].streams))
                self.barrier(table.known[0].streams, "looks up rows among the tokens")
                return Tensor((*x.dims, table.known[1]))
        return super().token_call(name, x, args, kwargs, node)
