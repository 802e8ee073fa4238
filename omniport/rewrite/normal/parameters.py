"""Remove parameters that nothing reads, with the arguments at every call, and merge those always given alike."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import libcst as cst

from omniport.rewrite.normal.dead_code import pure
from omniport.rewrite.normal.substitute import Substitute, assigned_in, names_in
from omniport.rewrite.normal.tensor_use import used_as_tensor
from omniport.rewrite.normal.usage import ClassFacts, Usage
from omniport.source.syntax import code, constant
from omniport.source.transform import transform
from omniport.source.walk import of_kind

Key = tuple[str, str]


def parameter_names(function: cst.FunctionDef) -> list[str]:
    """The parameters of a method but ``self``, in order."""
    return [p.name.value for p in function.params.params if p.name.value != "self"]


def arguments_of(call: cst.Call, names: list[str]) -> dict[str, cst.Arg] | None:
    """Parameter -> argument of a call; None if the call has star arguments."""
    if any(arg.star for arg in call.args):
        return None
    positional = [arg for arg in call.args if arg.keyword is None]
    found = dict(zip(names, positional, strict=False))
    found.update({arg.keyword.value: arg for arg in call.args if arg.keyword is not None})
    return found


def _overfull(call: cst.Call, function: cst.FunctionDef) -> tuple[bool, bool]:
    """Whether a call gives more than the named parameters, so that it needs ``*args``, and ``**kwargs``."""
    names = parameter_names(function)
    positional = [arg for arg in call.args if arg.keyword is None]
    keywords = {arg.keyword.value for arg in call.args if arg.keyword is not None}
    starred = any(arg.star for arg in call.args)
    return len(positional) > len(names) or starred, not keywords <= set(names) or starred


def drop_unused_parameters(
    classes: dict[str, cst.ClassDef], facts: Usage, root: str, dropped: Collection[str]
) -> dict[str, cst.ClassDef]:
    """Drop unread parameters of constructors, forwards and methods, with their arguments: the classes that changed.

    The root keeps its constructor, and its forward keeps all but ``dropped``: they are the port's interface.  A
    ``**kwargs`` that it does not read is none.
    """
    gone: dict[Key, set[str]] = {}
    stars: dict[Key, set[str]] = {}
    arguments: dict[cst.Call, set[cst.Arg]] = {}
    touched: set[str] = set()
    elsewhere = facts.read_elsewhere
    for cls, own in facts.classes.items():
        for function in (member for member in own.node.body.body if isinstance(member, cst.FunctionDef)):
            name = function.name.value
            inner = name not in ("__init__", "forward")
            if (cls == root and name == "__init__") or inner and (name in elsewhere or function.decorators):
                continue
            key = (cls, name)
            used = {*own.loads.get(name, {}), *own.stores.get(name, {})}
            if stored := [p for p in parameter_names(function) if p in own.stores.get(name, {})]:
                used -= _reset(function, stored)
            own_words = cls != root or inner
            unused = [p for p in parameter_names(function) if p not in used and (own_words or p in dropped)]
            star = (function.params.star_arg, function.params.star_kwarg)
            sites = _own_sites(cls, own, name) if inner else facts.sites.get(key, [])
            needed = [_overfull(call, function) for _, call, _ in sites]
            for index, kept in enumerate(star):
                unread = isinstance(kept, cst.Param) and kept.name.value not in used
                is_root = cls == root and not inner and kept is function.params.star_kwarg
                if unread and (sites or is_root) and not any(each[index] for each in needed):
                    assert isinstance(kept, cst.Param)
                    stars.setdefault(key, set()).add(kept.name.value)
                    touched.add(cls)
            for param in unused if sites or not own_words else ():  # a caller we do not see may give it
                taken: list[tuple[str, cst.Call, cst.Arg]] = []
                for owner, call, callees in sites:
                    given = arguments_of(call, parameter_names(function))
                    if given is None or (param in given and len(callees) > 1):
                        break
                    if param in given:
                        taken.append((owner, call, given[param]))
                else:
                    gone.setdefault(key, set()).add(param)
                    touched |= {cls, *(owner for owner, _, _ in taken)}
                    for _, call, arg in taken:
                        arguments.setdefault(call, set()).add(arg)
    changed: dict[str, cst.ClassDef] = {}
    for cls in touched:
        new = transform(classes[cls], _Drop(gone, stars, arguments))
        assert isinstance(new, cst.ClassDef)
        changed[cls] = new
    return changed


def _own_sites(cls: str, own: ClassFacts, name: str) -> list[tuple[str, cst.Call, frozenset[str]]]:
    """The calls of a method by the class itself; none if it is named in another way, too."""
    sites = [(cls, call, frozenset({cls})) for call, callee, _, _ in own.calls if callee == f"self.{name}"]
    named = sum(node.attr.value == name for node in of_kind(own.node.body, cst.Attribute))
    return sites if named == len(sites) else []


def _reset(function: cst.FunctionDef, parameters: Collection[str]) -> set[str]:
    """Those of the parameters that the body sets before it reads them."""
    reset: set[str] = set()
    unseen = set(parameters)
    for statement in function.body.body:
        if not unseen:
            break
        if isinstance(statement, cst.SimpleStatementLine) and isinstance(statement.body[0], cst.Assign):
            reset |= (unseen & assigned_in(statement.body[0])) - names_in(statement.body[0].value)
        unseen -= names_in(statement)
    return reset


def require_parameters(
    classes: dict[str, cst.ClassDef],
    facts: Usage,
    root: str,
    given: Collection[tuple[str, str, str]],
    outside: Collection[str] = (),
) -> dict[str, cst.ClassDef]:
    """A parameter that every call gives needs no default, and one that is never None no ``| None``.

    Args:
        given: (class, function, parameter) that are certainly not None.
        outside: classes that code outside of the module calls, too.
    """
    needed: dict[tuple[str, str, str], bool] = {}  # whether it is certainly not None
    for cls, own in facts.classes.items():
        for name in ("__init__", "forward"):
            function = own.function(name)
            sites = facts.sites.get((cls, name), [])
            if function is None or cls == root or cls in outside or not sites:
                continue
            names = parameter_names(function)
            calls = [arguments_of(call, names) for _, call, _ in sites]
            for param in names:
                if not all(call is not None and param in call for call in calls):
                    break
                needed[cls, name, param] = (cls, name, param) in given or used_as_tensor(own.node, function, param)
    changed: dict[str, cst.ClassDef] = {}
    for cls in dict.fromkeys(cls for cls, _, _ in needed):
        new = transform(classes[cls], _Require(needed))
        assert isinstance(new, cst.ClassDef)
        changed[cls] = new
    return changed


class _Require(cst.CSTTransformer):
    def __init__(self, needed: Mapping[tuple[str, str, str], bool]) -> None:
        self.needed = needed
        self.where = ["", ""]

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        self.where[0] = node.name.value

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self.where[1] = node.name.value

    def leave_Param(self, original_node: cst.Param, updated_node: cst.Param) -> cst.Param:
        present = self.needed.get((self.where[0], self.where[1], original_node.name.value))
        if present is None:
            return updated_node
        annotation = updated_node.annotation
        if annotation is not None:
            typed = annotation.annotation
            optional = _is_optional(typed)
            if present and optional and isinstance(typed, cst.BinaryOperation):
                annotation = annotation.with_changes(annotation=typed.left)
            elif not present and not optional and constant(updated_node.default) is None:
                made = cst.BinaryOperation(typed, cst.BitOr(), cst.Name("None"))
                annotation = annotation.with_changes(annotation=made)
        return updated_node.with_changes(default=None, annotation=annotation, equal=cst.MaybeSentinel.DEFAULT)


def _is_optional(node: cst.BaseExpression) -> bool:
    """Whether an annotation is ``... | None`` or ``Optional[...]``."""
    if isinstance(node, cst.BinaryOperation):
        return isinstance(node.operator, cst.BitOr) and code(node.right) == "None"
    return code(node).startswith("Optional[")


def _without_last_comma(params: cst.Parameters) -> cst.Parameters:
    bare = cst.MaybeSentinel.DEFAULT
    if params.star_kwarg is not None or params.kwonly_params:
        return params
    if isinstance(params.star_arg, cst.Param):
        return params.with_changes(star_arg=params.star_arg.with_changes(comma=bare))
    return params.with_changes(params=[*params.params[:-1], params.params[-1].with_changes(comma=bare)])


class _Drop(cst.CSTTransformer):
    def __init__(
        self, gone: dict[Key, set[str]], stars: dict[Key, set[str]], arguments: dict[cst.Call, set[cst.Arg]]
    ) -> None:
        self.gone, self.stars, self.arguments = gone, stars, arguments
        self.cls = ""

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        self.cls = node.name.value

    def visit_SimpleStatementLine(self, node: cst.SimpleStatementLine) -> bool:
        return not self.arguments.keys().isdisjoint(of_kind(node, cst.Call))

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        key = (self.cls, original_node.name.value)
        params = updated_node.params
        if key in self.gone:
            kept = [p for p in params.params if p.name.value not in self.gone[key]]
            if kept:
                kept[-1] = kept[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
            params = params.with_changes(params=kept)
        for name in self.stars.get(key, ()):
            if params.star_kwarg is not None and params.star_kwarg.name.value == name:
                params = params.with_changes(star_kwarg=None)
            else:
                params = params.with_changes(star_arg=cst.MaybeSentinel.DEFAULT)
        if key in self.stars:
            params = _without_last_comma(params)
        return updated_node if params is updated_node.params else updated_node.with_changes(params=params)

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        drop = self.arguments.get(original_node)
        if not drop:
            return updated_node
        kept = [new for old, new in zip(original_node.args, updated_node.args, strict=True) if old not in drop]
        if kept:
            kept[-1] = kept[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
        return updated_node.with_changes(args=kept)


def merge_equal_parameters(node: cst.ClassDef, facts: Usage) -> cst.ClassDef:
    """``FluxAttention(query_dim=dim, out_dim=dim)`` at every site: one parameter says the same as two."""
    cls = node.name.value
    own = facts.classes[cls]
    function = own.function("__init__")
    sites = facts.sites.get((cls, "__init__"), [])
    if function is None or not sites:
        return node
    names = parameter_names(function)
    stored, loaded = own.stores.get("__init__", {}), own.loads.get("__init__", {})
    first: dict[tuple[str, ...], str] = {}
    renames: dict[str, cst.BaseExpression] = {}
    for name in names:
        found = []
        for _, call, _ in sites:
            arg = (arguments_of(call, names) or {}).get(name)
            if arg is not None and constant(arg.value) is ... and pure(arg.value):
                found.append(code(arg.value))
        if len(found) != len(sites) or name in stored or name not in loaded:
            continue
        kept = first.setdefault(tuple(found), name)
        if kept != name:
            renames[name] = cst.Name(kept)
    if not renames:
        return node
    new = function.with_changes(body=transform(function.body, Substitute(renames)))
    members = [new if member is function else member for member in node.body.body]
    return node.with_changes(body=node.body.with_changes(body=members))
