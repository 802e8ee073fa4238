"""An attention mask is broadcast over the heads, not repeated for each of them.

diffusers' generic attention repeats a mask along the batch, once for each head, and views the result as one mask per
head.  Viewed as one for all heads it says the same to every attention function: ``[B, L]``, ``[B, S, L]`` and
``[B, 1, S, L]`` become ``[B, 1, -1, L]``.  The padding of a mask that is shorter than the tokens goes with it: it makes
the mask longer than the tokens, which no attention function takes.
"""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.normal.usage import Usage
from omniport.source.syntax import code, dotted
from omniport.source.transform import transform
from omniport.source.walk import walk

_METHOD = "prepare_attention_mask"


def broadcast_masks(node: cst.ClassDef, facts: Usage) -> cst.ClassDef:
    """``node`` with its masks broadcast; the same object if it prepares none in this way."""
    own = facts.classes[node.name.value]
    prepare = own.function(_METHOD)
    heads = _repeats(prepare) if prepare is not None else ""
    if not heads:
        return node
    new = transform(node, _Broadcast(heads))
    assert isinstance(new, cst.ClassDef)
    return new


def _repeats(function: cst.FunctionDef) -> str:
    """The number of heads, if the method does nothing but pad a mask and repeat it for each of them."""
    known = {"F.pad", "torch.zeros", "torch.cat", "attention_mask.repeat_interleave"}
    calls = [part for part in walk(function.body) if isinstance(part, cst.Call)]
    repeats = [call for call in calls if dotted(call.func) == "attention_mask.repeat_interleave"]
    if not repeats or any(dotted(call.func) not in known for call in calls):
        return ""
    pairs = [_assigned(part) for part in walk(function.body)]
    names = {pair[0]: code(pair[1]) for pair in pairs if pair is not None}
    counts = {code(call.args[0].value) for call in repeats}
    along = [code(a.value) for call in repeats for a in call.args if a.keyword is not None and a.keyword.value == "dim"]
    return names.get(counts.pop(), "") if len(counts) == 1 and along[:1] == ["0"] else ""


class _Broadcast(cst.CSTTransformer):
    def __init__(self, heads: str) -> None:
        self.heads = heads

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        body = list(updated_node.body)
        for index in range(len(body) - 2, -1, -1):
            view = self.view(body[index], body[index + 1])
            if view is not None:
                body[index : index + 2] = [view]
        return updated_node.with_changes(body=body) if len(body) < len(updated_node.body) else updated_node

    def view(self, prepare: cst.CSTNode, view: cst.CSTNode) -> cst.SimpleStatementLine | None:
        """``mask = self.prepare_attention_mask(mask, length, batch)`` and ``mask = mask.view(batch, heads, -1, L)``."""
        first, second = _call(prepare), _call(view)
        if first is None or second is None or not isinstance(view, cst.SimpleStatementLine):
            return None
        (name, made), (target, viewed) = first, second
        batch = code(made.args[2].value) if len(made.args) == 3 else ""
        shape = [code(arg.value) for arg in viewed.args]
        if dotted(made.func) != f"self.{_METHOD}" or code(made.args[0].value) != name or name != target:
            return None
        if dotted(viewed.func) != f"{name}.view" or shape != [batch, self.heads, "-1", f"{name}.shape[-1]"]:
            return None
        args = [arg.with_changes(value=cst.Integer("1")) if at == 1 else arg for at, arg in enumerate(viewed.args)]
        assign = view.body[0]
        assert isinstance(assign, cst.Assign) and isinstance(prepare, cst.SimpleStatementLine)
        return prepare.with_changes(body=[assign.with_changes(value=viewed.with_changes(args=args))])


def _call(line: cst.CSTNode) -> tuple[str, cst.Call] | None:
    """Name and call of a line ``name = call(...)``."""
    pair = _assigned(line.body[0]) if isinstance(line, cst.SimpleStatementLine) else None
    return (pair[0], pair[1]) if pair is not None and isinstance(pair[1], cst.Call) else None


def _assigned(part: cst.CSTNode) -> tuple[str, cst.BaseExpression] | None:
    if not isinstance(part, cst.Assign) or len(part.targets) != 1:
        return None
    target = part.targets[0].target
    return (target.value, part.value) if isinstance(target, cst.Name) else None
