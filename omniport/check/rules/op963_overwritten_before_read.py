"""OP963: a part of a tensor is overwritten before anybody reads it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import SourceFile, last_name

_CUTS = ("chunk", "split", "unbind", "tensor_split")


class OverwrittenBeforeRead(Rule):
    """A part of a tensor is overwritten before anybody reads it.

    A name that ``chunk``, ``split`` or ``unbind`` has just bound is bound again by a later statement of the same block,
    and no statement up to there reads it.

    Why: the part is lost, and what is read under its name is another.  HiDream of vllm-omni 0.30.0 rotates the query
    twice and names the result the key, in the branch for rope tables that are shorter than a head.

    Fix: read the part, or name it ``_`` if it is not wanted.
    """

    code = "OP963"
    name = "overwritten-before-read"
    VALID = (
        """
        def forward(self, query, key, cos, sin):
            key_1, key_2 = key.chunk(2, dim=-1)
            key_1 = self.rope(key_1, cos, sin)
            return torch.cat([key_1, key_2], dim=-1)
        """,
        """
        def forward(self, query, cos):
            first, second = query.chunk(2, dim=-1)
            if cos is None:
                first = second
            return first
        """,
    )
    INVALID = (
        """
        def forward(self, query, key, cos, sin):
            query_1, query_2 = query.chunk(2, dim=-1)
            key_1, key_2 = key.chunk(2, dim=-1)
            key_1 = self.rope(query_1, cos, sin)
            return torch.cat([key_1, key_2, query_2], dim=-1)
        """,
        """
        def forward(self, x):
            shift, scale, gate = self.proj(x).chunk(3, dim=-1)
            scale = self.norm(shift)
            return x * scale + shift, gate
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not any(file.mentions(f".{cut}(") for cut in _CUTS):
                continue
            for cut in file.nodes(ast.Assign):
                if not isinstance(cut.value, ast.Call) or last_name(cut.value.func) not in _CUTS:
                    continue
                (target,) = cut.targets if len(cut.targets) == 1 else (None,)
                if not isinstance(target, ast.Tuple | ast.List):
                    continue
                after = _after(file, cut)
                for part in target.elts:
                    if isinstance(part, ast.Name) and not part.id.startswith("_"):
                        again = _overwrites(file, after, part.id)
                        if again is not None:
                            message = f"{part.id} of line {cut.lineno} is overwritten and was never read"
                            yield self.at(file, again, message)


def _after(file: SourceFile, statement: ast.stmt) -> list[ast.stmt]:
    """The statements of the same block that come later."""
    parent = file.parent(statement)
    for name in ("body", "orelse", "finalbody"):
        block = getattr(parent, name, None)
        if isinstance(block, list) and statement in block:
            return block[block.index(statement) + 1 :]
    return []


def _overwrites(file: SourceFile, statements: list[ast.stmt], name: str) -> ast.stmt | None:
    """The first statement that binds a name, if neither it nor one before mentions it otherwise."""
    for statement in statements:
        uses = [n for n in file.nodes(ast.Name, within=statement) if n.id == name]
        if not uses:
            continue
        plain = isinstance(statement, ast.Assign) and all(isinstance(n.ctx, ast.Store) for n in uses)
        return statement if plain else None
    return None
