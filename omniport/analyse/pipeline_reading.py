"""Questions about the source of a pipeline class, asked of its syntax tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from omniport.errors import UnsupportedError
from omniport.source.nodes import each_node
from omniport.source.tree import SourceModule, SourceTree


def parameters(node: ast.FunctionDef, file: str, *, stars: bool = False) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    """Parameters of a method with their defaults, ``self`` aside.

    Raises:
        UnsupportedError: it takes ``*`` or ``**`` arguments and ``stars`` does not say to pass over them.
    """
    arguments = node.args
    if (arguments.vararg or arguments.kwarg) and not stars:
        raise UnsupportedError(f"{node.name} takes * or ** arguments", file, node.lineno)
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    yield from list(zip(plain, defaults, strict=True))[1:]
    yield from zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)


def registered(init: ast.FunctionDef) -> dict[str, str]:
    """Parameters that the constructor registers as components -> the component's name."""
    names: dict[str, str] = {}
    for node in each_node(init):
        if isinstance(node, ast.Call) and dotted(node.func) == "self.register_modules":
            given = [(k.arg, n) for k in node.keywords if k.arg for n in each_node(k.value)]
            names |= {n.id: keyword for keyword, n in given if isinstance(n, ast.Name)}
    return names


def registered_buffers(module: ast.Module) -> Iterator[tuple[str, int]]:
    """Persistent buffers of the submodules that classes of a module make: ``attribute.buffer`` and the line."""
    buffers: dict[str, list[tuple[str, int]]] = {}
    for owner in (n for n in module.body if isinstance(n, ast.ClassDef)):
        for node in each_node(owner):
            if isinstance(node, ast.Call) and dotted(node.func) == "self.register_buffer" and node.args:
                passing = [ast.unparse(a) for a in node.args[2:]]
                passing += [ast.unparse(k.value) for k in node.keywords if k.arg == "persistent"]
                if isinstance(node.args[0], ast.Constant) and "False" not in passing:
                    buffers.setdefault(owner.name, []).append((str(node.args[0].value), node.lineno))
    for node in each_node(module):
        target = dotted(node.targets[0]) if isinstance(node, ast.Assign) else None
        if target and target.startswith("self.") and isinstance(node.value, ast.Call):  # type: ignore[attr-defined]
            made = dotted(node.value.func)  # type: ignore[attr-defined]
            yield from ((f"{target[5:]}.{name}", line) for name, line in buffers.get(made or "", ()))


def optional_components(node: ast.ClassDef) -> set[str]:
    """What the class declares as ``_optional_components``."""
    for statement in node.body:
        if isinstance(statement, ast.Assign) and dotted(statement.targets[0]) == "_optional_components":
            return set(ast.literal_eval(statement.value))
    return set()


def stores(node: ast.ClassDef, name: str) -> Iterator[ast.Assign]:
    """Assignments to ``name`` (``self.x``) or to an element of it."""
    setters = [n for n in node.body if isinstance(n, ast.FunctionDef) and _sets(n)]
    skipped = {id(inner) for setter in setters for inner in each_node(setter)}
    for inner in each_node(node):
        if isinstance(inner, ast.Assign) and id(inner) not in skipped:
            for target in inner.targets:
                base = target.value if isinstance(target, ast.Subscript) else target
                if dotted(base) == name:
                    yield inner


def _sets(node: ast.FunctionDef) -> bool:
    return any((dotted(d) or "").endswith(".setter") for d in node.decorator_list)


def stores_argument(node: ast.Assign) -> bool:
    """``self._x = x``, ``self._x = {}``, or an IP-adapter entry."""
    target = node.targets[0]
    if isinstance(target, ast.Subscript):
        return _ip_adapter(target.slice)
    if isinstance(node.value, ast.Dict):
        return all(_ip_adapter(key) for key in node.value.keys)
    value = node.value
    if isinstance(value, ast.BoolOp) and isinstance(value.op, ast.Or) and ast.unparse(value.values[-1]) == "{}":
        value = value.values[0]
    return isinstance(value, ast.Name) and (dotted(target) or "").endswith((f"._{value.id}", f".{value.id}"))


def _ip_adapter(key: ast.expr | None) -> bool:
    return isinstance(key, ast.Constant) and str(key.value).startswith("ip_adapter")


def dotted(node: ast.AST) -> str | None:
    """``a.b.c`` for a name or a chain of attributes, None for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return None if base is None else f"{base}.{node.attr}"
    return None


def constant_of(module: ast.Module, name: str) -> ast.expr | None:
    """The value of a module-level constant; None if the module assigns no such name, or does so twice."""
    found = [
        n.value
        for n in module.body
        if isinstance(n, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in n.targets)
    ]
    return found[0] if len(found) == 1 else None


def inherited(source: SourceTree, module: SourceModule, node: ast.ClassDef) -> set[str]:
    """Names that the bases of a class define or store, as far as they are classes of the package."""
    found: set[str] = set()
    pending, seen = [(module, node)], set()
    while pending:
        where, current = pending.pop()
        for base in current.bases:
            target = source.resolve(where.name, base.id) if isinstance(base, ast.Name) else None
            if target is None or target in seen or not isinstance(target[0].definitions.get(target[1]), ast.ClassDef):
                continue
            seen.add(target)
            parent = target[0].class_def(target[1])
            text = "\n".join(target[0].text.splitlines()[parent.lineno - 1 : parent.end_lineno])
            patterns = (r"self\.(\w+)", r"    def (\w+)", r"(?m)^    (\w+)\s*[:=]")
            found |= {name for pattern in patterns for name in re.findall(pattern, text)}
            pending.append((target[0], parent))
    return found


def followed(source: SourceTree, module: SourceModule, class_name: str) -> tuple[SourceModule, str]:
    """The class that an old name stands for: its only base, where all that it defines itself is a deprecation."""
    node = module.class_def(class_name)
    own = [n for n in node.body if isinstance(n, ast.FunctionDef)]
    if [n.name for n in own] != ["__init__"] or len(node.bases) != 1 or not only_deprecates(own[0]):
        return module, class_name
    found = source.resolve(module.name, dotted(node.bases[0]) or "")
    if found is None or not isinstance(found[0].definitions.get(found[1]), ast.ClassDef):
        return module, class_name
    return followed(source, *found)


def only_deprecates(init: ast.FunctionDef) -> bool:
    """Whether a constructor says that its class is deprecated and hands its parameters on, nothing else."""
    deprecates = False
    for node in init.body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Constant | ast.JoinedStr)
            and isinstance(node.targets[0], ast.Name)
        ):
            continue
        call = node.value if isinstance(node, ast.Expr) else None
        name = dotted(call.func) if isinstance(call, ast.Call) else None
        handed = isinstance(call, ast.Call) and ast.unparse(call.func) == "super().__init__"
        if name != "deprecate" and not handed:
            return False
        deprecates = deprecates or name == "deprecate"
    return deprecates


def pipelines_made(init: ast.FunctionDef) -> dict[str, str]:
    """Attribute (``self.x``) -> class name of each pipeline that a constructor makes."""
    return {
        name: made
        for node in init.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        if (made := dotted(node.value.func) or "").endswith("Pipeline")
        for target in node.targets
        if (name := dotted(target)) is not None
    }


def returns_bare(node: ast.ClassDef) -> bool:
    """Whether a model's forward returns the prediction itself under ``if not return_dict``, not a tuple."""
    for inner in each_node(node):
        if isinstance(inner, ast.If) and ast.unparse(inner.test) == "not return_dict":
            value = inner.body[-1].value if isinstance(inner.body[-1], ast.Return) else None
            return value is not None and not isinstance(value, ast.Tuple)
    returned = [n.value for n in each_node(node) if isinstance(n, ast.Return)]
    conditional = [v for v in returned if isinstance(v, ast.IfExp) and "return_dict" in ast.unparse(v.test)]
    return any(not isinstance(v.body, ast.Tuple) and not isinstance(v.orelse, ast.Tuple) for v in conditional)


def returns_lists(node: ast.ClassDef) -> bool:
    """Whether a model's forward says that it returns a tuple of several values with lists of tensors among them."""
    forward = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "forward"), None)
    for inner in each_node(forward.returns) if forward is not None and forward.returns is not None else ():
        if (
            isinstance(inner, ast.Subscript)
            and (dotted(inner.value) or "").lower() == "tuple"
            and isinstance(inner.slice, ast.Tuple)
            and any({"list", "List"} & names_in(one) for one in inner.slice.elts)
        ):
            return True
    return False


def walk_reversed(node: ast.AST) -> list[ast.AST]:
    """Every node, last line first: a dictionary filled from it keeps the first occurrence of each name."""
    return sorted(each_node(node), key=lambda n: -getattr(n, "lineno", 0))


def is_none(node: Any) -> bool:
    """The literal ``None``."""
    return isinstance(node, ast.Constant) and node.value is None


def names_in(annotation: ast.expr | None) -> set[str]:
    """Names and last parts of dotted names in an annotation, string annotations included."""
    found: set[str] = set()
    for node in each_node(annotation) if annotation is not None else ():
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.update(re.findall(r"\w+", node.value))
    return found


def rebound(node: ast.FunctionDef) -> set[str]:
    """Names that a function assigns to."""
    found = set()
    for inner in each_node(node):
        if isinstance(inner, ast.Assign):
            found |= {t.id for t in inner.targets if isinstance(t, ast.Name)}
    return found
