"""The branches of a guider object, one denoiser call each, as one call of the guidance mixin for all of them.

The source runs the denoiser in a loop over what ``guider.prepare_inputs`` gave, between ``prepare_models`` and
``cleanup_models``.  The guider stays, and combines as it does; only who runs which branch changes.  Analysis has shown
that its class leaves the denoiser alone (:mod:`omniport.analyse.pipeline_guiders`), so that both calls go.
"""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, Statement, bound, changed, indented, parse, reads, suite
from omniport.rewrite.pipeline.denoiser import Denoisers, denoiser_calls
from omniport.rewrite.pipeline.pair import dropped
from omniport.source.syntax import code, dotted
from omniport.source.transform import transform

PREPARE, CLEANUP = "prepare_models", "cleanup_models"
NAMES = ("branches", "predictions", "prediction")  # that the port adds


def branched(function: cst.FunctionDef, denoisers: Denoisers) -> cst.FunctionDef | None:
    """``function`` with such loops rewritten; None if it has none, or one that is more than the calls of a guider."""
    work = _Branches(denoisers.names(function), set(bound(suite(function.body))))
    block = work.block(suite(function.body))
    return function.with_changes(body=indented(block, function.body)) if work.found else None


class _Branches:
    def __init__(self, names: frozenset[str], taken: set[str]) -> None:
        self.names, self.taken, self.found = names, taken, 0

    def block(self, block: Block) -> Block:
        out: Block = []
        for node in block:
            out += self.statement(node)
        return out

    def statement(self, node: Statement) -> Block:
        if not isinstance(node, cst.For | cst.While | cst.With | cst.If) or not denoiser_calls(node, self.names):
            return [node]
        if isinstance(node, cst.For) and (new := self.loop(node)) is not None:
            self.found += 1
            return new
        return [changed(node, body=indented(self.block(suite(node.body)), node.body))]

    def loop(self, node: cst.For) -> Block | None:
        body = suite(node.body)
        if not isinstance(node.target, cst.Name) or not any(_of_guider(s, PREPARE) for s in body):
            return None
        body = [s for s in body if not _of_guider(s, PREPARE) and not _of_guider(s, CLEANUP)]
        index = next((i for i, s in enumerate(body) if denoiser_calls(s, self.names)), None)
        if index is None:
            return None
        before, made, after = body[:index], body[index], body[index + 1 :]
        found = denoiser_calls(made, self.names)
        call = found[0]
        plain = len(found) == 1 and all(a.keyword is not None or a.star == "**" for a in call.args)
        if self.taken & set(NAMES):
            return None
        if not plain or any(denoiser_calls(s, self.names) for s in after) or bound(before) & set(reads(*after)):
            return None
        taken = _replaced(made, call)
        if taken is None:
            return None
        branches, predictions, prediction = NAMES
        entries = "".join(f"        {_entry(a)},\n" for a in call.args if not _gone(a))
        collect = parse(f"{branches}.append(\n    {{\n{entries}    }}\n)\n")
        collect = [collect[0].with_changes(leading_lines=made.leading_lines)]
        target, over = code(node.target), code(node.iter).strip()
        rest = [taken.with_changes(leading_lines=[]), *after]
        new = parse(
            f"{branches} = []\n"
            f"for {target} in {over}:\n    pass\n"
            f"{predictions} = self.predict_noise_with_multi_branch_cfg(\n"
            "    do_true_cfg=True,\n    true_cfg_scale=1.0,\n"
            f"    branches_kwargs={branches},\n)\n"
            f"for {target}, {prediction} in zip({over}, {predictions}, strict=True):\n    pass\n"
        )
        start, loop, call_line, second = new
        assert isinstance(loop, cst.For) and isinstance(second, cst.For)
        return [
            start.with_changes(leading_lines=node.leading_lines),
            loop.with_changes(body=indented([*before, *collect], node.body)),
            call_line,
            second.with_changes(body=indented(rest)),
        ]


def _of_guider(node: Statement, method: str) -> bool:
    """``guider.<method>(model)`` as a statement."""
    if not isinstance(node, cst.SimpleStatementLine) or not isinstance(node.body[0], cst.Expr):
        return False
    call = node.body[0].value
    return isinstance(call, cst.Call) and (dotted(call.func) or "").endswith(f".{method}")


def _gone(argument: cst.Arg) -> bool:
    return argument.keyword is not None and dropped(argument.keyword.value, argument.value)


def _entry(argument: cst.Arg) -> str:
    if argument.keyword is None:
        return f"**{code(argument.value)}"
    return f'"{argument.keyword.value}": {code(argument.value)}'


def _replaced(made: Statement, call: cst.Call) -> Statement | None:
    """The statement with a name in the place of ``call[0]``; None if it uses more of the result."""

    class First(cst.CSTTransformer):
        done = False

        def leave_Subscript(self, original_node: cst.Subscript, updated_node: cst.Subscript) -> cst.BaseExpression:
            if original_node.value is call and code(original_node.slice[0]).strip() == "0":
                self.done = True
                return cst.Name(NAMES[2])
            return updated_node

    first = First()
    new = transform(made, first)
    return new if first.done else None
