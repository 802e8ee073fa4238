"""A call of the repository's own attention function becomes diffusers' one, where it means plain attention.

Which function means what: :mod:`omniport.custom.idioms.attention_meaning`.  Lengths of keys become a mask over keys.
Arguments with which more than plain attention is meant (a window, a scale, causality) stop the rule; where such an
argument is a setting of the module, its constructor refuses every other value.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

import libcst as cst

from omniport.custom.idioms.attention_meaning import Meaning, meaning
from omniport.source.syntax import code, constant, dotted

#: the name that such a call gets, and where it is from: Path A turns it into vLLM-Omni's layer
DISPATCH = "dispatch_attention_fn"
IMPORT = f"from diffusers.models.attention_dispatch import {DISPATCH}"
_HEADS_FIRST = "torch.nn.functional.scaled_dot_product_attention"
_MASK = "key_mask"


def known_attention(module: cst.Module) -> tuple[cst.Module, tuple[tuple[str, str], ...]]:
    """The module with such calls replaced, and of each: ``Class.method`` and what it meant."""
    functions = {f.name: f for f in ast.parse(module.code).body if isinstance(f, ast.FunctionDef)}
    defined = {n.name.value for n in module.body if isinstance(n, cst.ClassDef | cst.FunctionDef)}
    if DISPATCH in defined:
        return module, ()
    rewriter = _Calls(functions)
    changed = module.visit(rewriter)
    assert isinstance(changed, cst.Module)
    if rewriter.guards:
        changed = changed.visit(_Guards(rewriter.guards, _bases(module)))
        assert isinstance(changed, cst.Module)
    return changed, tuple(rewriter.found)


class _Calls(cst.CSTTransformer):
    """Replaces the calls; ``guards`` are settings of a class and the values that they must have."""

    def __init__(self, functions: Mapping[str, ast.FunctionDef]) -> None:
        self._functions = functions
        self._where: list[str] = []
        self._before: list[cst.BaseStatement] = []
        self._statements = 0
        self.found: list[tuple[str, str]] = []
        self.guards: dict[str, dict[str, object]] = {}

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        self._where.append(node.name.value)

    def leave_ClassDef(self, original_node: cst.ClassDef, updated_node: cst.ClassDef) -> cst.ClassDef:
        self._where.pop()
        return updated_node

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self._where.append(node.name.value)

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        self._where.pop()
        return updated_node

    def visit_SimpleStatementLine(self, node: cst.SimpleStatementLine) -> None:
        self._statements += 1

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.FlattenSentinel[cst.BaseStatement]:
        self._statements -= 1
        before, self._before = self._before, []
        return cst.FlattenSentinel([*before, updated_node]) if before else updated_node

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        name = dotted(original_node.func) or ""
        if name not in self._functions or len(self._where) != 2 or not self._statements:
            return updated_node
        given = _bound(self._functions[name], updated_node)
        meant = meaning(self._functions[name], frozenset(given)) if given is not None else None
        if given is None or meant is None or not self._plain(meant, given):
            return updated_node
        return self._written(name, meant, given)

    def _plain(self, meant: Meaning, given: Mapping[str, cst.BaseExpression]) -> bool:
        """Whether every other argument has the value with which plain attention is meant, or is a setting."""
        settings: dict[str, object] = {}
        for name, wanted in meant.neutral:
            value = given[name]
            path = dotted(value) or ""
            if wanted is ... or _literal(value) == wanted:
                continue
            if not path.startswith("self.") or path.count(".") != 1:
                return False
            settings[path.removeprefix("self.")] = wanted
        value = given[meant.value]
        needs = meant.cast or meant.key_lengths is not None
        if needs and not isinstance(value, cst.Name) or {meant.query, meant.key, meant.value} - set(given):
            return False
        if settings:
            self.guards.setdefault(self._where[0], {}).update(settings)
        return True

    def _written(self, name: str, meant: Meaning, given: Mapping[str, cst.BaseExpression]) -> cst.BaseExpression:
        q, k, v = (code(given[n]) for n in (meant.query, meant.key, meant.value))
        if meant.cast:
            q, k = (f"{_operand(given[n])}.to({v}.dtype)" for n in (meant.query, meant.key))
        lengths = given.get(meant.key_lengths) if meant.key_lengths else None
        mask = ""
        said = "plain attention"
        if lengths is not None and constant(lengths) is not None:
            axis = 2 if meant.heads_first else 1
            text = code(lengths)
            real = f"torch.arange({v}.shape[{axis}], device={v}.device) < {text}.to({v}.device)[:, None]"
            line = f"{_MASK} = None if {text} is None else {real}\n"
            self._before.append(cst.parse_statement(line))
            mask, said = f", attn_mask={_MASK}", f"plain attention over the first {text} keys of each sample"
        self.found.append((".".join(self._where), f"{name} is {said}"))
        function = _HEADS_FIRST if meant.heads_first else DISPATCH
        return cst.parse_expression(f"{function}({q}, {k}, {v}{mask})")


class _Guards(cst.CSTTransformer):
    """Constructors that refuse settings with which more than plain attention would be meant."""

    def __init__(self, guards: Mapping[str, Mapping[str, object]], bases: Mapping[str, str]) -> None:
        self._wanted: dict[str, dict[str, object]] = {}
        for name, settings in guards.items():
            owner = name
            while owner in bases and bases[owner] != owner and not bases.get(f"{owner}.__init__"):
                owner = bases[owner]
            self._wanted.setdefault(owner, {}).update(settings)
        self._class: list[str] = []

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        self._class.append(node.name.value)

    def leave_ClassDef(self, original_node: cst.ClassDef, updated_node: cst.ClassDef) -> cst.ClassDef:
        self._class.pop()
        return updated_node

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        if original_node.name.value != "__init__" or len(self._class) != 1:
            return updated_node
        lines = [
            cst.parse_statement(
                f"if self.{name} != {wanted!r}:\n"
                f'    raise ValueError(f"{self._class[0]}: {name} must be {wanted!r}, not {{self.{name}}}")\n'
            )
            for name, wanted in self._wanted.get(self._class[0], {}).items()
        ]
        body = [*updated_node.body.body, *lines]
        return updated_node.with_changes(body=updated_node.body.with_changes(body=body)) if lines else updated_node


def _bases(module: cst.Module) -> dict[str, str]:
    """Class -> its base in the module; ``Class.__init__`` -> itself where it has a constructor of its own."""
    classes = {n.name.value: n for n in module.body if isinstance(n, cst.ClassDef)}
    found: dict[str, str] = {}
    for name, node in classes.items():
        for base in node.bases:
            if isinstance(base.value, cst.Name) and base.value.value in classes:
                found.setdefault(name, base.value.value)
        if any(isinstance(m, cst.FunctionDef) and m.name.value == "__init__" for m in node.body.body):
            found[f"{name}.__init__"] = name
    return found


def _bound(function: ast.FunctionDef, call: cst.Call) -> dict[str, cst.BaseExpression] | None:
    """Parameter -> argument; parameters that are given their literal None are as if not given."""
    if any(a.star for a in call.args):
        return None
    names = [a.arg for a in function.args.args]
    given = {n: a.value for n, a in zip(names, call.args, strict=False) if a.keyword is None}
    given |= {a.keyword.value: a.value for a in call.args if a.keyword is not None}
    if not set(given) <= {*names, *(a.arg for a in function.args.kwonlyargs)}:
        return None
    return {n: v for n, v in given.items() if constant(v) is not None}


def _operand(node: cst.BaseExpression) -> str:
    """``node`` as text that a method can be called on."""
    return code(node) if isinstance(node, cst.Name | cst.Attribute | cst.Call | cst.Subscript) else f"({code(node)})"


def _literal(node: cst.BaseExpression) -> object:
    try:
        return ast.literal_eval(code(node))
    except ValueError:
        return ...
