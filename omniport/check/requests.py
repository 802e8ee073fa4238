"""Facts on how a pipeline reads its request."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.source import Function, SourceFile, dotted, last_name, walk

#: names that can only be the sampling parameters of a request
_NAMES = frozenset({"sampling_params", "sampling", "common_sampling_params"})


def sampling_reads(file: SourceFile, attribute: str) -> Iterator[ast.Attribute]:
    """Reads of ``<sampling parameters>.<attribute>``, such as ``req.sampling_params.guidance_scale``."""
    if not file.mentions(attribute):
        return
    for node in file.nodes(ast.Attribute):
        if node.attr == attribute and isinstance(node.ctx, ast.Load) and is_sampling(file, node.value):
            yield node


def is_sampling(file: SourceFile, node: ast.expr) -> bool:
    """Whether an expression names a request's sampling parameters."""
    if last_name(node) in _NAMES:
        return True
    if isinstance(node, ast.Subscript):
        return last_name(node.value).startswith("sampling_params")
    function = file.enclosing_function(node) if isinstance(node, ast.Name) else None
    return function is not None and isinstance(node, ast.Name) and _from_sampling(function, node.id)


def embedded_scale(file: SourceFile, function: Function) -> bool:
    """Whether a tensor is filled with ``guidance_scale``: what the transformer embeds as its guidance."""
    return any(
        last_name(value) in ("guidance_scale", "_guidance_scale")
        for call in file.calls("full", "full_like", "tensor", within=function)
        for argument in (*call.args, *(k.value for k in call.keywords))
        for value in (argument.elts if isinstance(argument, ast.List) else [argument])
    )


def mentions_attribute(scope: ast.AST, attribute: str) -> bool:
    """Whether code reads ``.attribute``, by name or through ``getattr``, or calls a function of that name."""
    return any(
        (isinstance(n, ast.Attribute) and n.attr == attribute)
        or (isinstance(n, ast.Constant) and n.value == attribute)
        or (isinstance(n, ast.Name) and n.id == attribute)
        for n in walk(scope)
    )


def _from_sampling(function: Function, name: str) -> bool:
    """Whether a variable is bound to sampling parameters: ``sp = req.sampling_params``, or annotated so."""
    for node in walk(function):
        if isinstance(node, ast.Assign) and name in [dotted(t) for t in node.targets]:
            value = node.value.value if isinstance(node.value, ast.Subscript) else node.value
            return last_name(value).startswith("sampling")
        if isinstance(node, ast.arg) and node.arg == name and node.annotation is not None:
            return "SamplingParams" in ast.unparse(node.annotation)
    return False
