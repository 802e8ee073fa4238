"""The modulated input of the first block: what TeaCache watches to tell whether a step may be skipped."""

from __future__ import annotations

import ast

from omniport.plan.model import BlockListPlan, Decision, Why
from omniport.source.normal import NormalForm

SUBJECT = "modulated input"


def modulated_input(normal: NormalForm, blocks: tuple[BlockListPlan, ...]) -> tuple[Decision, ...]:
    """Where the first block modulates its stream, as an expression of its forward; None where it is not seen.

    Known are a norm that is given the modulation (``self.norm1(x, emb=temb)``) and one whose result is scaled by
    ``1 + scale`` right after it.
    """
    classes = {node.name: node for node in normal.tree.body if isinstance(node, ast.ClassDef)}
    block = next((classes[plan.class_name] for plan in blocks if plan.class_name in classes), None)
    if block is None:
        return ()
    forward = next((n for n in block.body if isinstance(n, ast.FunctionDef) and n.name == "forward"), None)
    if forward is None or len(forward.args.args) < 2:
        return ()
    found = _found(forward)
    origin = normal.origin(found.lineno if found is not None else forward.lineno)
    if found is None:
        why = Why(f"{block.name} does not modulate its stream in a form that is known", origin.file, origin.line)
        return (Decision(SUBJECT, None, why),)
    why = Why(f"the first stream of {block.name}, normalised and modulated", origin.file, origin.line)
    return (Decision(SUBJECT, ast.unparse(found), why),)


def _found(forward: ast.FunctionDef) -> ast.expr | None:
    parameters = {arg.arg for arg in forward.args.args[1:]}
    stream = forward.args.args[1].arg
    normed = ""
    assigns = [node for node in ast.walk(forward) if isinstance(node, ast.Assign)]
    for statement in sorted(assigns, key=lambda node: node.lineno):
        for part in ast.walk(statement.value):
            if _of_module(part) and _first(part) == stream and _others(part) & parameters:
                return part  # type: ignore[return-value]
            if isinstance(part, ast.BinOp | ast.Call) and _modulated(part, stream, normed):
                return part
        if not normed and any(_of_module(n) and _first(n) == stream for n in ast.walk(statement.value)):
            normed = ast.unparse(statement.targets[0])
    return None


def _of_module(node: ast.AST) -> bool:
    """Whether a node is a call of a module of the block."""
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "self"
    )


def _first(node: ast.AST) -> str:
    """The first argument of a call, without conversions of its precision."""
    if not (isinstance(node, ast.Call) and node.args):
        return ""
    return ast.unparse(node.args[0]).removesuffix(".float()")


def _others(node: ast.AST) -> set[str]:
    """Names in the further arguments of a call."""
    given = [*node.args[1:], *(keyword.value for keyword in node.keywords)] if isinstance(node, ast.Call) else []
    return {part.id for value in given for part in ast.walk(value) if isinstance(part, ast.Name)}


def _modulated(node: ast.BinOp | ast.Call, stream: str, normed: str) -> bool:
    """Whether a node scales by ``1 + scale`` what a norm of the stream gave, and runs no other module."""
    if isinstance(node, ast.Call) and not ast.unparse(node.func).startswith("torch."):
        return False
    if isinstance(node, ast.BinOp) and _one_plus(node):
        return False
    parts = list(ast.walk(node))
    runs = [part for part in parts if _of_module(part)]
    if any(_first(part) != stream for part in runs):
        return False
    from_norm = bool(runs) or any(isinstance(part, ast.Name) and part.id == normed for part in parts)
    return from_norm and any(_one_plus(part) for part in parts)


def _one_plus(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and ast.unparse(node.left) in ("1", "1.0")
