"""OP310: a stream is padded by hand for sequence parallelism, and nobody is told."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import Function, SourceFile, last_name

_RANKS = ("get_sequence_parallel_world_size", "get_ulysses_parallel_world_size")
_PADS = ("cat", "pad", "concat")
_TOLD = re.compile(r"mask|pad_?(ding|ded)?_?(size|len)|orig|valid", re.I)


class SpPaddingByHand(Rule):
    """A stream is padded by hand for sequence parallelism, and nobody is told.

    A function takes a length modulo the number of sequence-parallel ranks, appends tokens, and returns them without a
    mask, without the length that was valid, and without storing either.

    Why: the tokens that were added take part in attention on the last rank, so the image depends on the number of
    ranks.  Helios of vllm-omni 0.30.0 repeats the last token of each history (its comment says so).

    Fix: let the plan pad (``auto_pad=True``) and mask by what the hook recorded, or return the valid length with the
    tokens and mask the rest.
    """

    code = "OP310"
    name = "sp-padding-by-hand"
    VALID = (
        """
        def split(self, x):
            ranks = get_sequence_parallel_world_size()
            if x.shape[1] % ranks:
                raise ValueError("does not divide")
            return x.chunk(ranks, dim=1)[get_sequence_parallel_rank()]
        """,
        """
        def split(self, x):
            ranks = get_sequence_parallel_world_size()
            padding_size = -x.shape[1] % ranks
            x = F.pad(x, (0, 0, 0, padding_size))
            get_forward_context().sp_padding_size = padding_size
            return x.chunk(ranks, dim=1)[get_sequence_parallel_rank()]
        """,
    )
    INVALID = (
        """
        def split(self, x):
            ranks = get_sequence_parallel_world_size()
            more = -x.shape[1] % ranks
            x = torch.cat([x, x[:, -1:].expand(-1, more, -1)], dim=1)
            return x.chunk(ranks, dim=1)[get_sequence_parallel_rank()]
        """,
        """
        def split(self, x):
            ranks = get_sequence_parallel_world_size()
            rest = x.shape[1] % ranks
            if rest:
                x = F.pad(x, (0, 0, 0, ranks - rest))
            return x.chunk(ranks, dim=1)[get_sequence_parallel_rank()]
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not any(file.mentions(name) for name in _RANKS):
                continue
            for function in file.nodes(ast.FunctionDef):
                pads = list(file.calls(*_PADS, within=function))
                if pads and _by_ranks(file, function) and not _tells(file, function):
                    place = next((c for c in pads if last_name(c.func) != "cat"), pads[0])
                    yield self.at(
                        file, place, "tokens are added for the ranks, and no mask or valid length goes with them"
                    )


def _by_ranks(file: SourceFile, function: Function) -> bool:
    """Whether the function takes a remainder by a variable that holds the number of ranks."""
    ranks = {
        target.id
        for node in file.nodes(ast.Assign, within=function)
        if isinstance(node.value, ast.Call) and last_name(node.value.func) in _RANKS
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return any(
        isinstance(node.op, ast.Mod) and isinstance(node.right, ast.Name) and node.right.id in ranks
        for node in file.nodes(ast.BinOp, within=function)
    )


def _tells(file: SourceFile, function: Function) -> bool:
    """Whether the function stores or returns something that says which tokens are valid, or works on a mask itself."""
    for node in file.nodes(ast.Attribute, within=function):
        if isinstance(node.ctx, ast.Store) and _TOLD.search(node.attr):
            return True
    returned = [n for r in file.nodes(ast.Return, within=function) if r.value is not None for n in file.walk(r.value)]
    if any(isinstance(n, ast.Name) and _TOLD.search(n.id) for n in returned):
        return True
    if any("mask" in node.id for node in file.nodes(ast.Name, within=function)):
        return True
    if any("mask" in (node.arg or "") for node in file.nodes(ast.keyword, within=function)):
        return True
    return any(isinstance(r.value, ast.Tuple) for r in file.nodes(ast.Return, within=function))
