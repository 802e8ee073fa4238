"""Dicts of attention arguments that carry data: a parameter for each key in every class that hands them on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import libcst as cst

from omniport.errors import UnsupportedError
from omniport.source.slice import marker
from omniport.source.syntax import code, dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind

#: Parameter that holds a dict -> the parameters that take its place.
Carried = Mapping[str, Sequence[cst.Param]]


def spread_carried(node: cst.ClassDef, carried: Carried) -> cst.ClassDef:
    """``node`` with parameters of their own for the keys of the dicts in ``carried``.

    ``**d`` and ``d=d`` become ``key=key``, a positional ``d`` the keys in their order; ``d = d or {}`` goes.

    Raises:
        UnsupportedError: a method reads the dict in another way, or has a parameter with the name of a key.
    """
    members = [_spread(m, carried) if isinstance(m, cst.FunctionDef) else m for m in node.body.body]
    return node.with_changes(body=node.body.with_changes(body=members))


def _spread(function: cst.FunctionDef, carried: Carried) -> cst.FunctionDef:
    params = [p.name.value for p in function.params.params]
    for name in [n for n in carried if n in params]:
        where = marker(function) or ("", 0)
        keys = [p.name.value for p in carried[name]]
        if taken := set(keys) & set(params):
            raise UnsupportedError(f"the entry {min(taken)} of {name}: a parameter has that name, too", *where)
        own = function.params.params[params.index(name)]
        new = [p.with_changes(default=own.default, equal=own.equal, comma=own.comma) for p in carried[name]]
        at = params.index(name)
        rest = [*function.params.params[:at], *new, *function.params.params[at + 1 :]]
        function = function.with_changes(params=function.params.with_changes(params=rest))
        spread = _Spread(name, keys)
        function = transform(function, spread)
        if any(read.value == name for read in of_kind(function.body, cst.Name)):
            raise UnsupportedError(f"{name} carries {', '.join(keys)} and is read in a way no rule knows", *where)
        params = [p.name.value for p in function.params.params]
    return function


class _Spread(cst.CSTTransformer):
    def __init__(self, name: str, keys: Sequence[str]) -> None:
        self.name, self.keys = name, keys

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.RemovalSentinel:
        small = original_node.body[0]
        binds = isinstance(small, cst.Assign) and dotted(small.targets[0].target) == self.name
        same = (f"{self.name}or{{}}", f"{self.name}.copy()")
        gone = binds and "".join(code(cst.ensure_type(small, cst.Assign).value).split()) in same
        return cst.RemoveFromParent() if gone else updated_node

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        args: list[cst.Arg] = []
        for argument in updated_node.args:
            plain = isinstance(argument.value, cst.Name) and argument.value.value == self.name
            keyword = argument.keyword.value if argument.keyword is not None else None
            if plain and (argument.star == "**" or keyword == self.name):
                args += [
                    argument.with_changes(star="", keyword=cst.Name(key), value=cst.Name(key), equal=_EQUAL)
                    for key in self.keys
                ]
            elif plain and not argument.star and keyword is None:
                args += [argument.with_changes(value=cst.Name(key)) for key in self.keys]
            else:
                args.append(argument)
        return updated_node.with_changes(args=args) if args != list(updated_node.args) else updated_node


_EQUAL = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
