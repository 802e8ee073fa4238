"""A loop over the layers of a transformers model, written for an older release, as the installed release has it.

The old loop hands positions to each layer and takes the hidden states from the front of a tuple; the new one hands
over what the model's own forward hands over, and takes the tensor.  Attention weights and caches in tuples are gone:
switches that ask for them are decided where nothing in the denoiser turns them on, and training goes with them.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

import libcst as cst

from omniport.custom.installed_loop import Loop, loop_of
from omniport.errors import UnsupportedError
from omniport.rewrite.syntax import assignment, code, dotted, expression, method, statements, variables
from omniport.source.walk import walk

#: parameters of a model's forward that nothing turns on, and what they are then
_SWITCHES = {"output_attentions": False, "output_hidden_states": False, "return_dict": True}
_READ = {"output_attentions": "attentions", "output_hidden_states": "hidden_states"}  # where an answer would be read
#: arguments of older layers under their present names; None where the present cache keeps what they said
_RENAMED = {"past_key_value": "past_key_values", "output_attentions": None, "cache_position": None}
_OUTPUTS = "transformers.modeling_outputs"


def current_loops(text: str, bases: Mapping[str, str], outputs: frozenset[str]) -> tuple[str, dict[str, str]]:
    """``text`` with the loops of its classes rewritten, and of each class why it was, or why it was not.

    Args:
        text: the slice of a denoiser.
        bases: class of it -> the class of transformers that it inherits from, where it has a forward of its own.
        outputs: names of the slice that are classes of ``transformers.modeling_outputs``.

    Returns:
        The text, and for each class that was left as it is the reason.
    """
    module = cst.parse_module(text)
    left: dict[str, str] = {}
    for name, base in bases.items():
        try:
            module = _rewritten(module, name, loop_of(base), outputs)
        except UnsupportedError as refusal:
            left[name] = refusal.construct
    return module.code, left


def _rewritten(module: cst.Module, name: str, loop: Loop, outputs: frozenset[str]) -> cst.Module:
    node = next(n for n in module.body if isinstance(n, cst.ClassDef) and n.name.value == name)
    forward = method(node, "forward")
    assert forward is not None
    _require_unasked(module, node)
    folded = forward.visit(_Fold(_SWITCHES))
    assert isinstance(folded, cst.FunctionDef)
    new = folded.visit(_Layers(_OldLoop(folded, loop)))
    assert isinstance(new, cst.FunctionDef)
    new = _swept(new, outputs)
    if "legacy_cache" in code(new):
        raise UnsupportedError("caches in tuples, which transformers has no more")
    body = [new if item is forward else item for item in node.body.body]
    changed = node.with_changes(body=node.body.with_changes(body=body))
    return module.with_changes(body=[changed if item is node else item for item in module.body])


def _require_unasked(module: cst.Module, node: cst.ClassDef) -> None:
    """Nothing outside of the class turns a switch on, or reads what it would bring.

    Raises:
        UnsupportedError: something does.
    """
    for item in module.body:
        if item is node:
            continue
        for inner in walk(item):
            if isinstance(inner, cst.Arg) and inner.keyword is not None and inner.keyword.value in _SWITCHES:
                raise UnsupportedError(f"{inner.keyword.value} is given to a model")
            if isinstance(inner, cst.Attribute) and inner.attr.value in _READ.values():
                raise UnsupportedError(f"{code(inner)} is read, which a layer may not return any more")


class _Fold(cst.CSTTransformer):
    """Decides what depends on given names and on training."""

    def __init__(self, known: Mapping[str, bool]) -> None:
        self._known = {**known, "self.training": False}

    def _decided(self, node: cst.BaseExpression) -> bool | None:
        if isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Not):
            inner = self._decided(node.expression)
            return None if inner is None else not inner
        if isinstance(node, cst.BooleanOperation):
            both = (self._decided(node.left), self._decided(node.right))
            ends = not isinstance(node.operator, cst.And)  # what one side alone decides
            return ends if ends in both else None if None in both else not ends
        return self._known.get(dotted(node)) if isinstance(node, cst.Name | cst.Attribute) else None

    def leave_BooleanOperation(
        self, original_node: cst.BooleanOperation, updated_node: cst.BooleanOperation
    ) -> cst.BaseExpression:
        """A side that does not decide goes: ``offload and not self.training``."""
        if self._decided(updated_node) is None:
            for side, other in ((updated_node.left, updated_node.right), (updated_node.right, updated_node.left)):
                if self._decided(side) is not None:
                    return other
        return updated_node

    def leave_If(
        self, original_node: cst.If, updated_node: cst.If
    ) -> cst.BaseStatement | cst.FlattenSentinel[cst.BaseStatement] | cst.RemovalSentinel:
        decided = self._decided(updated_node.test)
        if decided is None:
            return updated_node
        branch = updated_node if decided else updated_node.orelse
        if branch is None:
            return cst.RemoveFromParent()
        if isinstance(branch, cst.If) and branch is not updated_node:
            return branch
        return cst.FlattenSentinel(list(branch.body.body))  # type: ignore[arg-type]

    def leave_IfExp(self, original_node: cst.IfExp, updated_node: cst.IfExp) -> cst.BaseExpression:
        decided = self._decided(updated_node.test)
        return updated_node if decided is None else updated_node.body if decided else updated_node.orelse

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.RemovalSentinel:
        pair = assignment(original_node)
        return cst.RemoveFromParent() if pair is not None and dotted(pair[0]) in self._known else updated_node


class _OldLoop:
    """What the old loop is made of, and what becomes of its parts.

    Raises:
        UnsupportedError: it has another form, or the new one needs what is not there.
    """

    def __init__(self, forward: cst.FunctionDef, loop: Loop) -> None:
        self.loop = loop
        found = [n for n in walk(forward) if isinstance(n, cst.For) and dotted(n.iter) == f"self.{loop.layers}"]
        if len(found) != 1 or not isinstance(found[0].target, cst.Name):
            raise UnsupportedError(f"no single loop over self.{loop.layers}")
        self.node = found[0]
        pairs = [p for line in walk(self.node) if (p := assignment(line)) is not None]
        layer = found[0].target.value
        calls = [(t, v) for t, v in pairs if isinstance(v, cst.Call) and dotted(v.func) == layer]
        if sum(n == layer for n in variables(self.node.body)) != 1 or len(calls) != 1:
            raise UnsupportedError(f"{layer} is more than called once")
        target, call = calls[0]
        assert isinstance(call, cst.Call)
        self.result = dotted(target)
        first = call.args[0] if call.args else None
        if not self.result or first is None or first.keyword or not isinstance(first.value, cst.Name):
            raise UnsupportedError(f"{code(call.func)} is not given the hidden states first")
        self.hidden = first.value.value
        self.taken = f"{self.result}[0]"
        self._require_taken_next(target)
        self.cache = "past_key_values"
        self.call = self._call(call, forward)

    def _require_taken_next(self, result: cst.BaseExpression) -> None:
        """The tensor has the name of the hidden states from the call on; in the old loop, from where it is taken."""
        lines = [n for n in walk(self.node) if isinstance(n, cst.SimpleStatementLine)]
        pairs = [assignment(line) for line in lines]
        called = next(i for i, pair in enumerate(pairs) if pair is not None and pair[0] is result)
        after = pairs[called + 1] if called + 1 < len(pairs) else None
        if after is None or dotted(after[0]) != self.hidden or code(after[1]) != self.taken:
            raise UnsupportedError(f"{self.taken} is not the next that is done with what a layer returns")

    def _call(self, call: cst.Call, forward: cst.FunctionDef) -> cst.BaseExpression:
        given = {}
        for arg in call.args[1:]:
            name = arg.keyword.value if arg.keyword is not None else ""
            present = name if name in self.loop.keywords else _RENAMED.get(name, "")
            if present == "" or (present is not None and present not in self.loop.keywords):
                raise UnsupportedError(f"layers of the installed release take no {name or code(arg)}")
            if present is not None:
                given[present] = code(arg.value)
        self.cache = given.get("past_key_values", self.cache)
        self.before: list[str] = []
        parameters = {p.name.value for p in (*forward.params.params, *forward.params.kwonly_params)}
        for name, value in self.loop.keywords.items():
            if name in given:
                continue
            made = self.loop.computed.get(value, "")
            names = {n.id for n in ast.walk(ast.parse(made)) if isinstance(n, ast.Name)} - {"self"}
            if not made or not names <= parameters | {self.loop.hidden} or value in parameters:
                raise UnsupportedError(f"what the installed release gives its layers as {name} is not known here")
            self.before.append(f"{name} = {_renamed(made, self.loop.hidden, self.hidden)}")
            given[name] = name
        return expression(f"{code(call.func)}({self.hidden}, {', '.join(f'{k}={v}' for k, v in given.items())})")


def _renamed(text: str, old: str, new: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == old:
            node.id = new
    return ast.unparse(tree)


class _Layers(cst.CSTTransformer):
    """The call, what is taken of its result, and what is computed before the loop."""

    def __init__(self, old: _OldLoop) -> None:
        self._old = old

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.BaseStatement | cst.RemovalSentinel:
        pair = assignment(original_node)
        if pair is None:
            return updated_node
        if dotted(pair[0]) == self._old.result:
            new = statements(f"{self._old.hidden} = {code(self._old.call)}")[0]
            return new.with_changes(leading_lines=updated_node.leading_lines)
        if dotted(pair[0]) == self._old.hidden and code(pair[1]) == self._old.taken:
            return cst.RemoveFromParent()
        return updated_node

    def leave_Subscript(self, original_node: cst.Subscript, updated_node: cst.Subscript) -> cst.BaseExpression:
        """Without attention weights, the cache comes second."""
        is_cache = code(original_node) == f"{self._old.result}[1]"
        return expression(self._old.cache) if is_cache else updated_node

    def leave_For(
        self, original_node: cst.For, updated_node: cst.For
    ) -> cst.For | cst.FlattenSentinel[cst.BaseStatement]:
        if original_node is not self._old.node:
            return updated_node
        if self._old.result in set(variables(updated_node.body)) - {self._old.hidden}:
            raise UnsupportedError(f"{self._old.result} is used as more than a tuple of states and cache")
        return cst.FlattenSentinel([*statements("\n".join(self._old.before)), updated_node])


def _swept(forward: cst.FunctionDef, outputs: frozenset[str]) -> cst.FunctionDef:
    """Without caches in tuples, locals that nothing reads or that are None throughout, and unread switches."""
    changed = forward.visit(_Legacy())
    assert isinstance(changed, cst.FunctionDef)
    stores: dict[str, list[str]] = {}
    for line in walk(changed.body):
        if (pair := assignment(line)) is not None and isinstance(pair[0], cst.Name):
            stores.setdefault(pair[0].value, []).append(code(pair[1]))
    other = {dotted(n.target) for n in walk(changed.body) if isinstance(n, cst.AugAssign)}
    other |= {p.name.value for p in changed.params.params}
    nothing = {name for name, values in stores.items() if values == ["None"] and name not in other}
    changed = changed.visit(_Nothing(nothing, outputs))
    assert isinstance(changed, cst.FunctionDef)
    counts = list(variables(changed.body))
    unread = {name for name, values in stores.items() if counts.count(name) == len(values)}
    changed = changed.visit(_Nothing(unread & {n for n, v in stores.items() if set(v) <= {"True", "False"}}, outputs))
    assert isinstance(changed, cst.FunctionDef)
    read = set(variables(changed.body))
    gone = {*_SWITCHES, "cache_position"} - read
    kept = [p for p in changed.params.params if p.name.value not in gone]
    return changed.with_changes(params=changed.params.with_changes(params=kept))


class _Legacy(cst.CSTTransformer):
    """Conversions between caches and tuples: none comes in, and the cache itself goes out."""

    def leave_If(self, original_node: cst.If, updated_node: cst.If) -> cst.If | cst.RemovalSentinel:
        inner = updated_node.body.body
        if len(inner) == 1 and updated_node.orelse is None and "to_legacy_cache()" in code(inner[0]):
            return cst.RemoveFromParent()
        other = updated_node.orelse
        if isinstance(other, cst.Else) and "from_legacy_cache(" in code(other):
            refused = statements('raise ValueError("past_key_values is a Cache, not a tuple")')
            return updated_node.with_changes(orelse=other.with_changes(body=other.body.with_changes(body=refused)))
        return updated_node


class _Nothing(cst.CSTTransformer):
    """Names that are None throughout: their lines go, and so does what they are handed to an output as."""

    def __init__(self, names: set[str], outputs: frozenset[str]) -> None:
        self._names = names
        self._outputs = outputs

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.RemovalSentinel:
        pair = assignment(original_node)
        gone = pair is not None and isinstance(pair[0], cst.Name) and pair[0].value in self._names
        return cst.RemoveFromParent() if gone else updated_node

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
        return cst.Name("None") if original_node.value in self._names else updated_node

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.Attribute:
        return updated_node.with_changes(attr=original_node.attr)

    def leave_Arg(self, original_node: cst.Arg, updated_node: cst.Arg) -> cst.Arg:
        return updated_node.with_changes(keyword=original_node.keyword)

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        if dotted(original_node.func) not in self._outputs:
            return updated_node
        kept = [a for a in updated_node.args if a.keyword is None or code(a.value) != "None"]
        return updated_node.with_changes(args=kept)
