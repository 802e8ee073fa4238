"""Mappings of checkpoint names to fused parameters, as ports write them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.source import SourceFile, constant, last_name
from omniport.records import dataclass

STACKED = "stacked_params_mapping"


@dataclass(frozen=True)
class Entry:
    """One ``(fused, part, shard)`` of a mapping; ``table`` is the list it stands in."""

    node: ast.Tuple
    table: ast.expr
    fused: str
    part: str
    shard: object


def mapping_entries(file: SourceFile) -> Iterator[Entry]:
    """Every written-out entry of what is assigned to ``stacked_params_mapping``, as variable, attribute or field."""
    if not file.mentions(STACKED):
        return
    nodes: list[ast.Assign | ast.AnnAssign] = [*file.nodes(ast.Assign), *file.nodes(ast.AnnAssign)]
    for node in sorted(nodes, key=lambda n: n.lineno):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        table = node.value
        if not isinstance(table, ast.List | ast.Tuple) or STACKED not in [last_name(t) for t in targets]:
            continue
        for element in table.elts:
            if isinstance(element, ast.Tuple) and len(element.elts) == 3:
                fused, part, shard = (constant(e) for e in element.elts)
                if isinstance(fused, str) and isinstance(part, str) and shard is not None:
                    yield Entry(element, table, fused, part, shard)
