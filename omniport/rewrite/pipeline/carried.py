"""Attention arguments that carry data: each entry of the dict is an argument of the denoiser's call by itself."""

from __future__ import annotations

import re
from collections.abc import Mapping

import libcst as cst

from omniport.errors import UnsupportedError
from omniport.rewrite.pipeline.blocks import Block, bound, changed, indented, parse, rewrite_lines, statements, suite
from omniport.source.syntax import dotted
from omniport.source.transform import transform
from omniport.source.walk import of_kind

#: The dict in a pipeline: a local name, the attribute, or the property that reads it.
NAMES = re.compile(r"(?:self\._?)?((?:joint_|cross_)?attention_kwargs)\Z")


def with_entries_apart(entry: cst.FunctionDef, carried: Mapping[str, tuple[str, ...]], file: str) -> cst.FunctionDef:
    """``entry`` with the entries of each dict in ``carried`` (parameter of the denoiser -> keys) as local names.

    ``d["mask"] = x`` binds the name ``mask``, and the call of the denoiser passes ``mask=mask`` for ``d=d``.  An entry
    that only some paths store is None where the dict is made.

    Raises:
        UnsupportedError: the name of a key is taken, or the dict is made where its entries cannot be.
    """
    for parameter, keys in carried.items():
        entry = _apart(entry, parameter, keys, file)
    return entry


def _apart(entry: cst.FunctionDef, parameter: str, keys: tuple[str, ...], file: str) -> cst.FunctionDef:
    block = suite(entry.body)
    stores = [line for line in of_kind(entry.body, cst.SimpleStatementLine) if _stored(line, parameter) is not None]
    own = {key: _is_own_name(stores, parameter, key) for key in keys}
    order = list(statements(block))
    optional = [key for key in keys if not any(_key(line, parameter) == key for line in block)]
    for key in keys:
        first = next(i for i, line in enumerate(order) if _key(line, parameter) == key)
        if key in (bound(order[first:]) if own[key] and key not in optional else bound(block)):
            raise UnsupportedError(f"the entry {key} of {parameter}: the name means something else, too", file)
    made = [line for line in block if isinstance(line, cst.SimpleStatementLine) and _makes(line, parameter)]
    if optional and len(made) != 1:
        raise UnsupportedError(f"{parameter} is made in {len(made)} places, its entries on some paths alone", file)

    def change(line: cst.SimpleStatementLine) -> Block:
        if (stored := _stored(line, parameter)) is not None:
            key, value = stored
            if own[key]:
                return []
            target = cst.AssignTarget(cst.Name(key))
            return [line.with_changes(body=[cst.Assign(targets=[target], value=value)])]
        if _makes(line, parameter):
            return parse("".join(f"{key} = None\n" for key in optional)) if line in made else []
        return [line]

    block = rewrite_lines([s for s in block if not _is_default(s, parameter)], change)
    return transform(  # type: ignore[no-any-return]
        entry.with_changes(body=indented(block, entry.body)), _Spread(parameter, keys)
    )


def _target(line: cst.CSTNode) -> tuple[cst.BaseExpression, cst.BaseExpression] | None:
    """Target and value of a line that is one assignment to one target."""
    small = line.body[0] if isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1 else None
    if not isinstance(small, cst.Assign) or len(small.targets) != 1:
        return None
    return small.targets[0].target, small.value


def _is_dict(node: cst.CSTNode, parameter: str) -> bool:
    found = NAMES.match(dotted(node) or "")
    return found is not None and found[1] == parameter


def _stored(line: cst.CSTNode, parameter: str) -> tuple[str, cst.BaseExpression] | None:
    """Key and value of ``d["key"] = value``."""
    parts = _target(line)
    if parts is None or not isinstance(parts[0], cst.Subscript) or not _is_dict(parts[0].value, parameter):
        return None
    index = parts[0].slice[0].slice
    key = index.value if isinstance(index, cst.Index) else None
    return (str(key.evaluated_value), parts[1]) if isinstance(key, cst.SimpleString) else None


def _key(line: cst.CSTNode, parameter: str) -> str:
    stored = _stored(line, parameter)
    return stored[0] if stored else ""


def _is_own_name(stores: list[cst.SimpleStatementLine], parameter: str, key: str) -> bool:
    """Whether every store of ``key`` is ``d["key"] = key``: the name holds it already."""
    values = [stored[1] for line in stores if (stored := _stored(line, parameter)) is not None and stored[0] == key]
    return all(isinstance(value, cst.Name) and value.value == key for value in values)


def _makes(line: cst.CSTNode, parameter: str) -> bool:
    """``d = {}``."""
    parts = _target(line)
    return parts is not None and _is_dict(parts[0], parameter) and _is_empty(parts[1])


def _is_empty(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Dict) and not node.elements


def _is_default(statement: cst.CSTNode, parameter: str) -> bool:
    """``if d is None: d = {}``."""
    return (
        isinstance(statement, cst.If)
        and statement.orelse is None
        and isinstance(statement.test, cst.Comparison)
        and _is_dict(statement.test.left, parameter)
        and isinstance(statement.test.comparisons[0].operator, cst.Is)
        and all(_makes(line, parameter) for line in suite(statement.body))
    )


class _Spread(cst.CSTTransformer):
    def __init__(self, parameter: str, keys: tuple[str, ...]) -> None:
        self.parameter, self.keys = parameter, keys

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        args: list[cst.Arg] = []
        for argument in updated_node.args:
            if argument.keyword is None or argument.keyword.value != self.parameter:
                args.append(argument)
            elif _is_dict(argument.value, self.parameter):
                args += [argument.with_changes(keyword=cst.Name(key), value=cst.Name(key)) for key in self.keys]
            else:
                return updated_node
        return changed(updated_node, args=args)
