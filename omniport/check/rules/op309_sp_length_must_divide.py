"""OP309: a sequence that does not divide among the ranks is refused."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.plans import entries, plans, switched_on
from omniport.check.port import Port
from omniport.check.source import SourceFile, has_star, keyword, last_name


class SpLengthMustDivide(Rule):
    """A sequence that does not divide among the ranks is refused.

    ``_sp_plan`` is written out, no split of it has ``auto_pad``, and no file of the port rounds a length up to a fixed
    multiple (``-n % 32``).

    Why: without ``auto_pad`` the hook cannot cut a length that is no multiple of the ranks, and the request fails;
    which heights and widths fail depends on the number of ranks.  LongCat-Image of vllm-omni 0.30.0 is one; Z-Image
    rounds up to a multiple of 32 tokens itself, and most others pad.

    Fix: ``auto_pad=True`` on every split of the stream, with the padding masked (OP307).
    """

    code = "OP309"
    name = "sp-length-must-divide"
    VALID = (
        """
        class Model:
            _sp_plan = {"rope": {0: SequenceParallelInput(split_dim=0, split_output=True, auto_pad=True)}}
        """,
        """
        class Model:
            _sp_plan = {"prepare": {0: SequenceParallelInput(split_dim=1, split_output=True)}}
            def forward(self, tokens):
                padding = -len(tokens) % 32
                return self.prepare(F.pad(tokens, (0, 0, 0, padding)))
        """,
    )
    INVALID = (
        """
        class Model:
            _sp_plan = {"rope": {0: SequenceParallelInput(split_dim=0, split_output=True)}}
        """,
        """
        class Model:
            _sp_plan = {
                "": {"hidden_states": SequenceParallelInput(split_dim=1, expected_dims=3)},
                "rope": {0: SequenceParallelInput(split_dim=0, split_output=True, auto_pad=False)},
                "proj_out": SequenceParallelOutput(gather_dim=1),
            }
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file, cls, plan in plans(port):
            if None in plan.keys or any(_rounds_up(other) for other in port.files):
                continue
            splits = [call for entry in entries(file, cls, plan) for _, call in entry.splits]
            if splits and not any(has_star(c) or _may_pad(c) for c in splits):
                yield self.at(file, plan, f"no split of {cls.name}._sp_plan has auto_pad=True")


def _may_pad(call: ast.Call) -> bool:
    value = keyword(call, "auto_pad")
    return switched_on(call, "auto_pad") or (value is not None and not isinstance(value, ast.Constant))


def _rounds_up(file: SourceFile) -> bool:
    """Whether the file computes ``-n % m`` or ``(n + m - 1) // m * m`` for a number or a constant of the module."""
    for node in file.nodes(ast.BinOp):
        left, right = node.left, node.right
        if isinstance(node.op, ast.Mod) and isinstance(left, ast.UnaryOp) and isinstance(left.op, ast.USub):
            rounds = True
        else:
            divided = (
                isinstance(left, ast.BinOp) and isinstance(left.op, ast.FloorDiv) and isinstance(node.op, ast.Mult)
            )
            rounds = divided and isinstance(left, ast.BinOp) and ast.dump(left.right) == ast.dump(right)
        if rounds and _fixed(right):
            return True
    return False


def _fixed(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) or last_name(node).isupper()
