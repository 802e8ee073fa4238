"""A prompt is tokenised again, to warn of what was cut off it, only where something can have been.

The reference tokenises every prompt twice and compares.  A prompt that was padded, or is shorter than the limit, was
not cut: the port looks at the first result before it makes the second.  What it warns of is the same.  Where only the
first result has been moved to a device, its copy on the host is compared: PyTorch compares none across devices.
"""

from __future__ import annotations

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, assigned, bound, changed, indented, parse, reads, suite
from omniport.rewrite.pipeline.rename import replace_names
from omniport.source.syntax import code, dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind


def tokenised_once(method: cst.FunctionDef) -> cst.FunctionDef:
    """``method`` with such comparisons behind that question; the same object if there is none."""
    if not any(dotted(call.func) == "torch.equal" for call in of_kind(method, cst.Call)):
        return method
    new = transform(method, _Guard(method))
    assert isinstance(new, cst.FunctionDef)
    return new


class _Guard(cst.CSTTransformer):
    def __init__(self, method: cst.FunctionDef) -> None:
        self.method = method

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        block = suite(updated_node)
        for i in range(len(block) - 1):
            question = self._question(block, i)
            if question is not None:
                guard = parse(f"if {question}:\n    pass\n")[0]
                check = _on_host(block, i)
                inner = block[i].with_changes(leading_lines=[]), check.with_changes(leading_lines=[])
                guard = guard.with_changes(leading_lines=block[i].leading_lines, body=indented(inner))
                return indented([*block[:i], guard, *block[i + 2 :]], updated_node)
        return updated_node

    def _question(self, block: Block, i: int) -> str | None:
        """Whether anything can have been cut, where ``block[i]`` tokenises anew and the next statement warns."""
        again, check = assigned(block[i]), block[i + 1]
        call = _ids(again[1]) if again is not None else None
        if again is None or call is None or not isinstance(check, cst.If):
            return None
        whole, second = again[0], call[0]
        cut = _compared(check, whole)
        if cut is None or not _only_warns(check) or self._read_elsewhere({whole, *bound(suite(check.body))}, block, i):
            return None
        made = _last(block[:i], cut)
        held = _ids(made) if made is not None else None
        if held is None or not isinstance(held[0], cst.Name):
            return None
        source, style = held[0].value, held[1]
        first = _last(block[:i], source)
        if not isinstance(first, cst.Call) or not isinstance(second, cst.Call) or code(first.func) != code(second.func):
            return None
        given, again_given = _arguments(first), _arguments(second)
        changing = bound(_behind(block[:i], source)) - {cut}
        if (
            given is None
            or again_given is None
            or given.get("truncation") != "True"
            or given.get("return_attention_mask") == "False"
            or again_given.keys() != {"", "padding", "return_tensors"}
            or given.get("") != again_given[""]
            or again_given["padding"] != '"longest"'
            or changing & {source, *reads(first)}
        ):
            return None
        if given.get("padding") == '"max_length"':
            mask = f'{source}["attention_mask"]' if style == "[]" else f"{source}.attention_mask"
            return f"{mask}.all(dim=-1).any()"
        limit = given.get("max_length")
        return f"{cut}.shape[-1] >= {limit}" if limit is not None and "padding" in given else None

    def _read_elsewhere(self, names: set[str], block: Block, i: int) -> bool:
        def count(node: cst.CSTNode) -> int:
            return sum(n.value in names for n in of_kind(node, cst.Name))

        return count(self.method) != count(block[i]) + count(block[i + 1])


def _ids(value: cst.BaseExpression) -> tuple[cst.BaseExpression, str] | None:
    """``x`` of ``x.input_ids`` or ``x["input_ids"]``, moved to a device or not; and how it is asked."""
    if isinstance(value, cst.Call) and isinstance(value.func, cst.Attribute) and value.func.attr.value == "to":
        value = value.func.value
    if isinstance(value, cst.Attribute) and value.attr.value == "input_ids":
        return value.value, "."
    if isinstance(value, cst.Subscript) and code(value).endswith('["input_ids"]'):
        return value.value, "[]"
    return None


def _compared(check: cst.If, whole: str) -> str | None:
    """The name of the ids that ``check`` compares with ``whole``."""
    for call in of_kind(check.test, cst.Call):
        names = [dotted(a.value) for a in call.args]
        if dotted(call.func) == "torch.equal" and len(names) == 2 and names[1] == whole and names[0] is not None:
            same = f"{whole}.shape[-1] >= {names[0]}.shape[-1] and not torch.equal({names[0]}, {whole})"
            return names[0] if _packed(code(check.test)) == _packed(same) and check.orelse is None else None
    return None


def _on_host(block: Block, i: int) -> cst.If:
    """The comparison behind ``block[i]``, which tokenises anew, with ids that are where the new ones are."""
    check, again = cst.ensure_type(block[i + 1], cst.If), assigned(block[i])
    cut = _compared(check, again[0]) if again is not None else None
    made = _last(block[:i], cut) if cut is not None else None
    if again is None or cut is None or made is None or not _moved(made) or _moved(again[1]):
        return check
    method = cst.ensure_type(cst.ensure_type(made, cst.Call).func, cst.Attribute)
    return changed(check, test=replace_names(check.test, {cut: code(method.value)}))


def _moved(value: cst.BaseExpression) -> bool:
    return isinstance(value, cst.Call) and isinstance(value.func, cst.Attribute) and value.func.attr.value == "to"


def _packed(text: str) -> str:
    """Source on however many lines, without what is between its tokens."""
    return "".join(text.split())


def _only_warns(check: cst.If) -> bool:
    """Whether the body names values and gives them to the log."""
    for node in suite(check.body):
        small = node.body[0] if isinstance(node, cst.SimpleStatementLine) and len(node.body) == 1 else None
        logs = isinstance(small, cst.Expr) and isinstance(small.value, cst.Call)
        if not (logs and dotted(small.value.func) == "logger.warning") and assigned(node) is None:  # type: ignore[union-attr]
            return False
    return True


def _last(block: Block, name: str) -> cst.BaseExpression | None:
    """What the last statement that binds ``name`` assigns, if it is a line that does nothing else."""
    node = next((s for s in reversed(block) if name in bound([s])), None)
    found = assigned(node) if node is not None else None
    return found[1] if found is not None else None


def _behind(block: Block, name: str) -> Block:
    """The statements behind the last one that binds ``name``."""
    at = max(i for i, s in enumerate(block) if name in bound([s]))
    return block[at + 1 :]


def _arguments(call: cst.Call) -> dict[str, str] | None:
    """Arguments by name as source, the first one under an empty name; None if there are others without."""
    named = {a.keyword.value if a.keyword else "": code(a.value).strip() for a in call.args}
    plain = bool(call.args) and call.args[0].keyword is None and all(a.keyword for a in call.args[1:])
    return named if plain and not any(a.star for a in call.args) else None
