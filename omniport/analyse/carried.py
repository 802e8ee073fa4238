"""The parameters that take the place of a dict of attention arguments which carries data."""

from __future__ import annotations

import ast

import libcst as cst

from omniport.analyse.demand import Demand
from omniport.errors import UnsupportedError
from omniport.rewrite.normal.carried import Carried
from omniport.source.nodes import each_node
from omniport.source.tree import SourceModule, SourceTree


def carried_parameters(tree: SourceTree, module: SourceModule, demand: Demand) -> Carried:
    """For each dict that ``demand`` names, a parameter for each of its keys, typed as the reference's processors do.

    Raises:
        UnsupportedError: no function that ``module`` can hand the dict to has a parameter with the name of a key.
    """
    if not demand.carried:
        return {}
    types = _types(tree, module)
    found: dict[str, list[cst.Param]] = {}
    for parameter, keys in demand.carried:
        for key in keys:
            if key not in types:
                raise UnsupportedError(
                    f"{parameter} carries {key}, which no attention of {module.name} takes", module.file
                )
            annotation = cst.Annotation(cst.parse_expression(types[key]))
            found.setdefault(parameter, []).append(cst.Param(cst.Name(key), annotation))
    return found


def _types(tree: SourceTree, module: SourceModule) -> dict[str, str]:
    """Parameter of a ``__call__`` -> its type, in the module, else where its imported processors are defined."""
    places = [(module, name) for name in module.definitions if module.definitions.is_class(name)]
    places += [found for name in module.imports if (found := tree.resolve(module.name, name)) is not None]
    types: dict[str, str] = {}
    for scope, name in places:
        if not scope.definitions.is_class(name) or "Processor" not in name:
            continue
        for function in each_node(scope.class_def(name)):
            if isinstance(function, ast.FunctionDef) and function.name == "__call__":
                given = [*function.args.args, *function.args.kwonlyargs]
                for argument in given:
                    if argument.annotation is not None:
                        types.setdefault(argument.arg, ast.unparse(argument.annotation))
    return types
