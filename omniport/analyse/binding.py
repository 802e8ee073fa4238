"""How the facts of a call meet the parameters of a function."""

from __future__ import annotations

import re
from typing import Any

import libcst as cst

from omniport.analyse import knowledge
from omniport.analyse.values import PRESENT, UNKNOWN, Const, Value
from omniport.source.syntax import code, constant
from omniport.source.walk import of_kind

Env = dict[str, Value]

_RELEASE = re.compile(r"[0-9]+(?:\.[0-9]+)*\Z")


def torch_version(operator: object, version: object) -> bool:
    """Decide ``is_torch_version(operator, version)`` for every torch that the target runs on."""
    lowest, asked = _ordered(knowledge.TORCH, str(version))
    table = {">=": lowest >= asked, ">": lowest > asked, "<": lowest < asked, "<=": lowest <= asked}
    return bool(table.get(str(operator), False))


def _ordered(*versions: str) -> list[Any]:
    """Versions as what orders them: packaging takes longer to import than the numbers of a release take to compare."""
    if all(_RELEASE.match(version) for version in versions):
        numbers = [[int(part) for part in version.split(".")] for version in versions]
        longest = max(map(len, numbers))
        return [[*release, *[0] * (longest - len(release))] for release in numbers]
    from packaging.version import Version

    return list(map(Version, versions))


def parameters(node: cst.FunctionDef) -> list[cst.Param]:
    """All named parameters but ``self``."""
    found = [*node.params.posonly_params, *node.params.params, *node.params.kwonly_params]
    return [p for p in found if p.name.value != "self"]


def bind(node: cst.FunctionDef, arguments: list[tuple[str | None, Value]]) -> Env | None:
    """Bind call facts to the parameters of ``node``; None if the call does not fit or cannot be followed."""
    names = parameters(node)
    env: Env = {}
    positional = [value for keyword, value in arguments if keyword is None]
    if any(keyword == "*" for keyword, _ in arguments):
        return None
    for param in names:
        default = constant(param.default) if param.default is not None else ...
        env[param.name.value] = UNKNOWN if default is ... else Const(default)
    for param, value in zip(names, positional, strict=False):
        env[param.name.value] = value
    extra = {keyword: value for keyword, value in arguments if keyword and keyword not in env}
    env.update({keyword: value for keyword, value in arguments if keyword and keyword in env})
    star, kwargs = node.params.star_arg, node.params.star_kwarg
    if len(positional) > len(names) and not isinstance(star, cst.Param):
        return None
    if extra and kwargs is None:
        return None
    if isinstance(star, cst.Param):
        env[star.name.value] = Const(()) if len(positional) <= len(names) else PRESENT
    if kwargs is not None:
        env[kwargs.name.value] = PRESENT if extra else Const({})
    return env


def compared_with_none(function: cst.FunctionDef) -> set[str]:
    """Names that a function compares with None: it may be given that, default or no default."""
    return {
        node.left.value
        for node in of_kind(function, cst.Comparison)
        if isinstance(node.left, cst.Name)
        and isinstance(node.comparisons[0].operator, cst.Is | cst.IsNot)
        and code(node.comparisons[0].comparator) == "None"
    }
