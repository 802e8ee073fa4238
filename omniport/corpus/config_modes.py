"""Which branches of a reference class a config takes: how the class is built, and what its tests on the config say.

The class is built on the meta device, so a published config is taken in its full size.  Imports torch, and the
reference's models.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from types import CodeType, FrameType
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

INDEX = re.compile(r"\.\d+(?=\.|$)")
PURE = frozenset({"self", "len", "isinstance", "hasattr", "getattr", "int", "float", "str", "bool", "list", "tuple"})
"""Names of a test that says the same for one instance whatever the inputs are."""
_DRAWN = ("kaiming_uniform_", "normal_", "trunc_normal_", "uniform_", "xavier_uniform_")


@dataclass(frozen=True)
class ConfigMode:
    """What a config chooses.

    ``branches``: steps from line to line of the constructors of the reference's classes (file, from, to);
    ``structure``: names of tensors and classes of modules, numbers of blocks left out; ``truths``: what the tests of
    the other methods say that read nothing but the instance (class, line, test, value).
    """

    branches: frozenset[tuple[str, int, int]]
    structure: frozenset[str]
    truths: frozenset[tuple[str, int, str, str]]

    def beyond(self, other: ConfigMode) -> list[str]:
        """What of this mode ``other`` has not, in words; empty if ``other`` covers it."""
        branches = [f"{file}:{line}, then {then}" for file, line, then in sorted(self.branches - other.branches)]
        truths = [
            f"{name}:{line}: `{test}` is {value}" for name, line, test, value in sorted(self.truths - other.truths)
        ]
        return [*sorted(self.structure - other.structure), *truths, *branches]


def mode_of(reference_class: Any, config: Mapping[str, Any]) -> ConfigMode:
    """The mode of ``config``; errors of the constructor pass through."""
    with torch.device("meta"), _undrawn():
        model, branches = _built(reference_class, dict(config))
    return ConfigMode(frozenset(branches), frozenset(_structure(model)), frozenset(_truths(model)))


@contextmanager
def _undrawn() -> Iterator[None]:
    """No random numbers for parameters: on the meta device they have no values, and asking for them takes long."""
    with ExitStack() as stack:
        for name in _DRAWN:
            stack.enter_context(patch.object(nn.init, name, lambda tensor, *_, **__: tensor))
        yield


def _built(reference_class: Any, config: dict[str, Any]) -> tuple[nn.Module, set[tuple[str, int, int]]]:
    """The model, and each step between two lines that a method of the reference's models took to build it.

    Functions are left out: they count and make tables, and what a config makes of them shows in the structure.
    """
    folder = sys.modules[reference_class.__module__.rpartition(".models.")[0] + ".models"].__path__[0]
    steps: set[tuple[str, int, int]] = set()

    def traced(frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(folder) or not _is_method(frame):
            return None
        file, last = frame.f_code.co_filename.rpartition("/")[2], 0

        def line(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal last
            if event == "line":
                steps.add((file, last, frame.f_lineno))
                last = frame.f_lineno
            return line

        return line

    before = sys.gettrace()
    sys.settrace(traced)
    try:
        model: nn.Module = reference_class(**config)
    finally:
        sys.settrace(before)
    return model, steps


def _is_method(frame: FrameType | None) -> bool:
    """Whether it runs a method, or a comprehension of one."""
    if frame is not None and frame.f_code.co_name.startswith("<"):
        return _is_method(frame.f_back)
    return frame is not None and frame.f_code.co_argcount > 0 and frame.f_code.co_varnames[0] == "self"


def _structure(model: nn.Module) -> Iterator[str]:
    for name in model.state_dict():
        yield INDEX.sub(".*", name)
    for name, module in model.named_modules():
        yield f"{INDEX.sub('.*', name) or 'the model'}: {type(module).__name__}"


def _truths(model: nn.Module) -> Iterator[tuple[str, int, str, str]]:
    for module in model.modules():
        for instance in (module, getattr(module, "processor", None)):
            for cls in type(instance).__mro__:
                if ".models." in cls.__module__:
                    for line, test, compiled in _tests(cls):
                        yield cls.__name__, line, test, _said(compiled, instance)


def _said(test: CodeType, instance: object) -> str:
    """What the reference's own test says of an instance; it reads the instance's attributes alone."""
    try:
        return str(bool(eval(test, {}, {"self": instance})))  # noqa: S307
    except Exception as error:
        return type(error).__name__


@cache
def _tests(cls: type) -> tuple[tuple[int, str, CodeType], ...]:
    """Line, text and code of the conditions in a class's methods, but its constructor, that read the instance only."""
    try:
        lines, first = inspect.getsourcelines(cls)
    except (OSError, TypeError):
        return ()
    (definition,) = ast.parse(textwrap.dedent("".join(lines))).body
    found: set[tuple[int, str]] = set()
    for function in definition.body if isinstance(definition, ast.ClassDef) else ():
        if isinstance(function, ast.FunctionDef) and function.name != "__init__":
            for test in _conditions(function):
                names = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
                if "self" in names and names <= PURE:
                    found.add((first + test.lineno - 1, ast.unparse(test)))
    return tuple((line, test, compile(test, cls.__module__, "eval")) for line, test in sorted(found))


def _conditions(function: ast.FunctionDef) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        if isinstance(node, ast.If | ast.IfExp | ast.While | ast.Assert):
            yield from node.test.values if isinstance(node.test, ast.BoolOp) else [node.test]
        elif isinstance(node, ast.BoolOp):
            yield from node.values
