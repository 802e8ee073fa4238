"""Where every call of a constructor hangs, so that whatever it builds can be told its name.

:mod:`omniport.rewrite.paths` knows the literal forms, in which a linear may be replaced.  A class of the port only
needs quantisation and prefix handed on, and that is possible wherever it is built: in loops, through locals, appended,
as a value of a dict, wrapped in another class, in a method that the constructor calls.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import libcst as cst

from omniport.analyse.wrappers import KEPT
from omniport.plan.model import TransformerPlan
from omniport.rewrite.paths import INDEX
from omniport.rewrite.syntax import assignment, code, dotted, method, self_attribute, single
from omniport.source.walk import children, of_kind

_PLAIN = re.compile(r"[\w.-]+")
_FORMATTED = re.compile(r"[\w.-]|\{[\w.]+\}")
_SETTERS = ("add_module", "register_module")


def constructors(node: cst.ClassDef) -> dict[str, cst.FunctionDef]:
    """``__init__`` and the methods it calls on ``self``, directly or through one another, by name."""
    found: dict[str, cst.FunctionDef] = {}
    todo = ["__init__"]
    while todo:
        name = todo.pop()
        function = method(node, name)
        if name in found or function is None or function.decorators:
            continue
        found[name] = function
        todo += [called for call in of_kind(function.body, cst.Call) if (called := self_call(call))]
    return found


def self_call(node: cst.CSTNode) -> str:
    """``x`` for ``self.x(...)``, "" for anything else."""
    return self_attribute(node.func) if isinstance(node, cst.Call) else ""


#: Of a class that holds modules it is given: constructor parameters, by position and by name, and their attributes.
Kept = Mapping[int | str, str]


def kept_by_imports(plan: TransformerPlan) -> dict[str, Kept]:
    """What the imported classes call the modules of the port that they are given, by class."""
    found: dict[str, dict[int | str, str]] = {}
    for decision in plan.decisions:
        if decision.subject.startswith(KEPT):
            name, index, parameter = decision.subject.removeprefix(KEPT).split(".")
            found.setdefault(name, {}).update({int(index): str(decision.value), parameter: str(decision.value)})
    return dict(found)


def build_paths(
    function: cst.FunctionDef, classes: Mapping[str, cst.ClassDef], imported: Mapping[str, Kept] | None = None
) -> dict[cst.Call, str]:
    """Calls in a constructor and the attribute paths of what they make, as the inside of an f-string.

    An item that is appended counts with the length of its list, ``blocks.{len(blocks)}``.  Where a part of the path is
    not known (the key of a dict is computed, a list is added to another), the path is that of the container; "" where
    nothing is known.  ``imported`` are the classes that hold modules and are not among ``classes``.
    """
    paths = _Paths(classes, imported or {})
    paths.body(function.body.body)
    return {call: paths.found.get(call, "") for call in of_kind(function.body, cst.Call)}


class _Paths:
    def __init__(self, classes: Mapping[str, cst.ClassDef], imported: Mapping[str, Kept]) -> None:
        self.classes = classes
        self.imported = imported
        self.found: dict[cst.Call, str] = {}
        self.locals: dict[str, str] = {}  # where a local ends up, by the use that follows

    def body(self, body: Sequence[cst.CSTNode]) -> None:
        """Statements from the last to the first: the use of a local comes before its making."""
        for statement in reversed(body):
            if isinstance(statement, cst.SimpleStatementLine):
                self._line(statement)
                continue
            for part in reversed(list(children(statement))):
                self._block(part)

    def _block(self, part: cst.CSTNode) -> None:
        if isinstance(part, cst.IndentedBlock | cst.SimpleStatementSuite):
            self.body(part.body)
        elif isinstance(part, cst.If | cst.Else | cst.ExceptHandler | cst.Finally):
            for inner in reversed(list(children(part))):
                self._block(inner)

    def _line(self, line: cst.SimpleStatementLine) -> None:
        pair, small = assignment(line), single(line)
        if pair is not None and isinstance(pair[0], cst.Tuple) and isinstance(pair[1], cst.Tuple):
            for target, value in zip(pair[0].elements, pair[1].elements, strict=False):
                self._value(value.value, self._target(target.value))
        elif pair is not None:
            self._value(pair[1], self._target(pair[0]))
        elif isinstance(small, cst.AnnAssign) and small.value is not None:
            self._value(small.value, self._target(small.target))
        elif isinstance(small, cst.Expr) and isinstance(small.value, cst.Call):
            self._stored(small.value)

    def _target(self, target: cst.BaseExpression) -> str:
        if name := self_attribute(target):
            return name
        if isinstance(target, cst.Name):
            return self.locals.get(target.value, "")
        if isinstance(target, cst.Subscript) and len(target.slice) == 1:
            item = target.slice[0].slice
            return _join(self._target(target.value), _key(item.value) if isinstance(item, cst.Index) else "")
        return ""

    def _stored(self, call: cst.Call) -> None:
        """``items.append(value)``, ``setattr(self, name, value)``, ``self.add_module(name, value)``."""
        values = [arg.value for arg in call.args]
        owner = call.func.value if isinstance(call.func, cst.Attribute) else None
        name = call.func.attr.value if isinstance(call.func, cst.Attribute) else dotted(call.func)
        if owner is not None and name in ("append", "extend", "insert") and values:
            place = f"{{len({dotted(owner)})}}" if name == "append" and dotted(owner) else ""
            self._value(values[-1], _join(self._target(owner), place))
        elif owner is not None and name in _SETTERS and len(values) == 2:
            self._value(values[1], _join("" if dotted(owner) == "self" else self._target(owner), _key(values[0])))
        elif name == "setattr" and len(values) == 3 and dotted(values[0]) == "self":
            self._value(values[2], _key(values[1]))

    # ---------------------------------------------------------------------------------------------------- expressions
    def _value(self, value: cst.BaseExpression, path: str) -> None:
        if isinstance(value, cst.Call):
            self.found[value] = path
            self._arguments(value, path)
        elif isinstance(value, cst.Name):
            self.locals[value.value] = path
        elif isinstance(value, cst.IfExp):
            self._value(value.body, path)
            self._value(value.orelse, path)
        elif isinstance(value, cst.List | cst.Tuple):
            exact = True
            for index, element in enumerate(value.elements):
                exact = exact and isinstance(element, cst.Element)
                self._value(element.value, _join(path, str(index)) if exact else path)
        elif isinstance(value, cst.ListComp | cst.GeneratorExp):
            self._value(value.elt, _join(path, _counter(value.for_in)))
        elif isinstance(value, cst.Dict):
            for entry in value.elements:
                key = _key(entry.key) if isinstance(entry, cst.DictElement) else ""
                self._value(entry.value, _join(path, key))
        elif isinstance(value, cst.DictComp):
            self._value(value.value, _join(path, _key(value.key)))
        elif isinstance(value, cst.BinaryOperation):
            self._value(value.left, path)
            self.found.update(dict.fromkeys(of_kind(value.right, cst.Call), path))

    def _arguments(self, call: cst.Call, path: str) -> None:
        kind = dotted(call.func).rpartition(".")[2]
        name = dotted(call.func)
        wrapper = _kept(self.classes[name]) if name in self.classes else self.imported.get(name)
        if kind == "Sequential":
            exact = True
            for index, arg in enumerate(call.args):
                self._value(arg.value, _join(path, str(index)) if exact and not arg.star else path)
                exact = exact and not arg.star
        elif wrapper is not None:
            for index, arg in enumerate(call.args):
                place = wrapper.get(arg.keyword.value if arg.keyword is not None else index)
                if place is not None:
                    self._value(arg.value, _join(path, place))
        else:
            for arg in call.args:
                self._value(arg.value, path)


def _kept(node: cst.ClassDef) -> Kept:
    """Constructor parameters that become attributes as they are, by position and by name."""
    init = method(node, "__init__")
    if init is None:
        return {}
    pairs = [pair for line in init.body.body if (pair := assignment(line)) is not None]
    stored = {code(value): name for target, value in pairs if (name := self_attribute(target))}
    kept: dict[int | str, str] = {}
    for index, param in enumerate(init.params.params[1:]):
        if param.name.value in stored:
            kept[index] = kept[param.name.value] = stored[param.name.value]
    return kept


def _join(path: str, place: str) -> str:
    return f"{path}.{place}" if path and place else path or place


def _counter(loop: cst.CompFor) -> str:
    """The variable that counts, as :func:`omniport.rewrite.paths.module_paths` names it."""
    if not isinstance(loop.target, cst.Name):
        return ""
    return f"{{{loop.target.value if loop.target.value != '_' else INDEX}}}"


def _key(node: cst.BaseExpression) -> str:
    """A key as part of an f-string, "" if it cannot be written there as it is."""
    if isinstance(node, cst.SimpleString):
        text = node.evaluated_value
        return text if isinstance(text, str) and _PLAIN.fullmatch(text) else ""
    if isinstance(node, cst.FormattedString):
        text = "".join(code(part) for part in node.parts)
        return text if not _FORMATTED.sub("", text) else ""
    if isinstance(node, cst.Call) and dotted(node.func) == "str" and len(node.args) == 1:
        return _key(node.args[0].value)
    if isinstance(node, cst.Integer):
        return node.value
    return f"{{{dotted(node)}}}" if dotted(node) else ""
