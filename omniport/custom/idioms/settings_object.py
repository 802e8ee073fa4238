"""A constructor that is handed its settings as one object of a dataclass takes the fields that it reads as parameters.

``def __init__(self, config: NetConfig)`` with ``config.depth`` becomes ``def __init__(self, depth: int = 6)``, and so
do the constructors that it hands the object on to: ``Block(config)`` becomes ``Block(width=width)``.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import field

import libcst as cst

from omniport.custom.idioms.config_dict import uses
from omniport.records import dataclass
from omniport.rewrite.normal.substitute import assigned_in
from omniport.source.syntax import code, dotted
from omniport.source.walk import walk

#: field -> its default; one without default is in no table of defaults
Defaults = Mapping[str, object]


@dataclass(frozen=True)
class Settings:
    """A parameter that was an object: the fields that are parameters now, and the defaults of those that have one."""

    parameter: str
    fields: tuple[str, ...]
    defaults: Defaults = field(hash=False)


class _Unknown(Exception):
    """The object is used in a way that is not understood."""


def settings_object(module: cst.Module, root: str) -> tuple[cst.Module, Settings | None]:
    """The module with the one settings object of the constructor of ``root`` unfolded; None where there is none."""
    classes = {n.name.value: n for n in module.body if isinstance(n, cst.ClassDef)}
    init = _init(classes[root]) if root in classes else None
    for param in init.params.params[1:] if init is not None else ():
        kind = code(param.annotation.annotation).strip("\"'") if param.annotation is not None else ""
        fields = _fields(classes[kind]) if kind in classes else None
        if fields is None:
            continue
        reader = _Reader(classes, fields)
        try:
            needed = reader.needs(root, param.name.value)
            reader.require_no_other_call(module, root)
        except _Unknown:
            return module, None
        defaults = {name: fields[name][1] for name in needed if len(fields[name]) > 1}
        made = [_Class(reader, n).node() if n in reader.handed else classes[n] for n in classes]
        by_name = dict(zip(classes, made, strict=True))
        body = [by_name[n.name.value] if isinstance(n, cst.ClassDef) else n for n in module.body]
        return module.with_changes(body=body), Settings(param.name.value, tuple(needed), defaults)
    return module, None


def _init(node: cst.ClassDef) -> cst.FunctionDef | None:
    return next((m for m in node.body.body if isinstance(m, cst.FunctionDef) and m.name.value == "__init__"), None)


def _fields(node: cst.ClassDef) -> dict[str, tuple[object, ...]] | None:
    """Field -> annotation, and default where there is one; None if the class is more than plain fields."""
    marks = [code(d.decorator).partition("(")[0] for d in node.decorators]
    if marks not in (["dataclass"], ["dataclasses.dataclass"]) or node.bases:
        return None
    found: dict[str, tuple[object, ...]] = {}
    for line in node.body.body:
        small = line.body[0] if isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1 else None
        if isinstance(small, cst.Expr) and isinstance(small.value, cst.SimpleString):
            continue  # its docstring
        if not isinstance(small, cst.AnnAssign) or not isinstance(small.target, cst.Name):
            return None
        text = code(small.annotation.annotation)
        found[small.target.value] = (text,)
        if small.value is not None:
            try:
                found[small.target.value] = (text, ast.literal_eval(code(small.value)))
            except ValueError:
                return None  # a factory, or a name
    return found


class _Reader:
    """Which fields each constructor needs that the object reaches."""

    def __init__(self, classes: Mapping[str, cst.ClassDef], fields: Mapping[str, tuple[object, ...]]) -> None:
        self.classes = classes
        self.fields = fields
        self.handed: dict[str, tuple[str, tuple[str, ...]]] = {}  # class -> its parameter, and the fields

    def needs(self, name: str, parameter: str) -> tuple[str, ...]:
        """Fields that the constructor of ``name`` reads of ``parameter`` or hands on, in their order.

        Raises:
            _Unknown: the object is used in another way, or a class is given it twice, under two names.
        """
        if name in self.handed:
            if self.handed[name][0] != parameter:
                raise _Unknown
            return self.handed[name][1]
        init = _init(self.classes[name])
        if init is None or init.decorators or init.params.star_kwarg or isinstance(init.params.star_arg, cst.Param):
            raise _Unknown
        self.handed[name] = (parameter, ())
        read: set[str] = set()
        understood = 0
        for node in walk(init.body):
            written: cst.CSTNode | None = node if isinstance(node, cst.Del) else None
            if isinstance(node, cst.AssignTarget | cst.AnnAssign | cst.AugAssign):
                written = node.target
            if written is not None and any(uses(written, parameter)):
                raise _Unknown  # a field, or the object
            if isinstance(node, cst.Attribute) and dotted(node.value) == parameter:
                if node.attr.value not in self.fields:
                    raise _Unknown
                read.add(node.attr.value)
                understood += 1
            elif isinstance(node, cst.Call) and (target := self.target(node, parameter)):
                read |= set(self.needs(*target))
                understood += 1
        if understood != sum(1 for _ in uses(init.body, parameter)):
            raise _Unknown
        needed = tuple(name for name in self.fields if name in read)
        others = [p for p in (*init.params.params[1:], *init.params.kwonly_params) if p.name.value != parameter]
        inner = {
            n.value
            for c in walk(init.body)
            if isinstance(c, cst.CompFor)
            for n in walk(c.target)
            if isinstance(n, cst.Name)
        }
        inner |= {p.name.value for p in walk(init.body) if isinstance(p, cst.Param)}
        if set(needed) & ({p.name.value for p in others} | set(assigned_in(init.body)) | inner):
            raise _Unknown
        self.handed[name] = (parameter, needed)
        return needed

    def require_no_other_call(self, module: cst.Module, root: str) -> None:
        """Classes whose parameters change are built in constructors that change with them, and nowhere else.

        Raises:
            _Unknown: one is named elsewhere.
        """
        built = 0
        for name, (parameter, _) in self.handed.items():
            init = _init(self.classes[name])
            assert init is not None
            built += sum(isinstance(n, cst.Call) and bool(self.target(n, parameter)) for n in walk(init.body))
        others = self.handed.keys() - {root}
        if sum(1 for n in walk(module) if isinstance(n, cst.Name) and n.value in others) != built + len(others):
            raise _Unknown

    def target(self, call: cst.Call, parameter: str) -> tuple[str, str] | None:
        """The class that is built with the object, and the name that it has there; None of another call."""
        name = dotted(call.func) or ""
        init = _init(self.classes[name]) if name in self.classes else None
        if init is None or not any(dotted(a.value) == parameter for a in call.args) or any(a.star for a in call.args):
            return None
        names = [p.name.value for p in init.params.params[1:]]
        for number, arg in enumerate(call.args):
            if dotted(arg.value) == parameter:
                if arg.keyword is not None:
                    return name, arg.keyword.value
                return (name, names[number]) if number < len(names) else None
        return None


class _Class(cst.CSTTransformer):
    """One constructor with the fields as parameters."""

    def __init__(self, reader: _Reader, name: str) -> None:
        self._node = reader.classes[name]
        self._reader = reader
        self._parameter, self._needed = reader.handed[name]

    def node(self) -> cst.ClassDef:
        init = _init(self._node)
        assert init is not None
        body = init.body.visit(self)
        first, *others = [p for p in init.params.params if p.name.value != self._parameter]
        made = [self._param(name) for name in self._needed]
        plain = [p.with_changes(comma=cst.MaybeSentinel.DEFAULT) for p in others]
        ordered = sorted([*plain, *made], key=lambda p: p.default is not None)
        changed = init.with_changes(body=body, params=init.params.with_changes(params=[first, *ordered]))
        members = [changed if m is init else m for m in self._node.body.body]
        return self._node.with_changes(body=self._node.body.with_changes(body=members))

    def _param(self, name: str) -> cst.Param:
        text, *default = self._reader.fields[name]
        value = cst.parse_expression(repr(default[0])) if default else None
        return cst.Param(cst.Name(name), cst.Annotation(cst.parse_expression(str(text))), default=value)

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        return original_node.attr if dotted(original_node.value) == self._parameter else updated_node

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        target = self._reader.target(original_node, self._parameter)
        if target is None:
            return updated_node
        init = _init(self._reader.classes[target[0]])
        assert init is not None
        names = [p.name.value for p in init.params.params[1:]]
        equal = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
        args = []
        for number, arg in enumerate(updated_node.args):
            if dotted(arg.value) == self._parameter:
                continue
            keyword = arg.keyword or cst.Name(names[number])  # the order of parameters is another one now
            args.append(cst.Arg(arg.value, keyword=keyword, equal=equal))
        fields = self._reader.handed[target[0]][1]
        args += [cst.Arg(cst.Name(n), keyword=cst.Name(n), equal=equal) for n in fields]
        return updated_node.with_changes(args=args)
