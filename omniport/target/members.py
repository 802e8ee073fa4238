"""Do the things exist that generated code uses of vLLM-Omni's classes: attributes, and the keywords of calls?

Imports alone do not tell: a class keeps its name from release to release while its fields come and go.  Read as text:
nothing is imported and nothing is run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from omniport.errors import OmniportError
from omniport.records import dataclass
from omniport.source.nodes import each_node
from omniport.source.outline import Outline, outline
from omniport.source.toplevel import Definitions
from omniport.target.kept import kept
from omniport.target.parsed import parsed
from omniport.target.resolve import ImportFinding

#: name of a variable in a port -> the class it holds
_HELD = {
    "params": ("inputs/data.py", "OmniDiffusionSamplingParams"),
    "od_config": ("diffusion/data.py", "OmniDiffusionConfig"),
    "self.od_config": ("diffusion/data.py", "OmniDiffusionConfig"),
}
_REQUESTS = {
    "DiffusionRequestBatch": ("diffusion/worker/request_batch.py", "DiffusionRequestBatch"),
    "OmniDiffusionRequest": ("diffusion/request.py", "OmniDiffusionRequest"),
}
_DEPTH = 5  # re-exports that are followed


@dataclass(frozen=True)
class _Function:
    """A function of the tree."""

    node: ast.FunctionDef


@dataclass(frozen=True)
class _Class:
    """A class of the tree: its file and name, and what is read of it without parsing its methods."""

    file: Path
    name: str
    outline: Outline

    def method(self, name: str) -> ast.FunctionDef | None:
        """A method that the class itself defines, None if there is none or it does not parse."""
        members = self.outline.members
        try:
            node = members[name] if name in members and members.is_function(name) else None
        except OmniportError:
            return None
        return node if isinstance(node, ast.FunctionDef) else None


def missing_members(sources: Mapping[str, str], package: Path) -> tuple[ImportFinding, ...]:
    """Every attribute or keyword of ``sources`` (path -> text) that the tree's ``package`` folder does not have."""
    tree = kept(("members", package), lambda: _Tree(package))
    found = []
    for file, text in sources.items():
        for line, name, reason in _Module(parsed(text), tree).findings():
            found.append(ImportFinding(file, line, name, reason))
    return tuple(found)


class _Tree:
    def __init__(self, package: Path) -> None:
        self.package = package
        self._definitions: dict[Path, Definitions | None] = {}
        self._classes: dict[tuple[Path, str], _Class | None] = {}
        self._names: dict[tuple[Path, str], set[str] | None] = {}
        self._imports: dict[tuple[Path, bool], dict[str, tuple[str, str]]] = {}
        self._bases: dict[tuple[Path, str], list[_Class | None]] = {}

    def held(self, path: Path) -> Definitions | None:
        """What the file ``path`` defines at its top level."""
        if path not in self._definitions:
            text = path.read_text("utf-8", errors="replace") if path.is_file() else None
            self._definitions[path] = Definitions(text.removeprefix("\ufeff"), str(path)) if text is not None else None
        return self._definitions[path]

    def node(self, path: Path, name: str) -> ast.ClassDef | ast.FunctionDef | None:
        """The class or function ``name`` that the file ``path`` defines; None for what does not parse, too."""
        held = self.held(path)
        if held is None or not (held.is_class(name) or held.is_function(name)):
            return None
        try:
            node = held[name]
        except OmniportError:
            return None
        return node if isinstance(node, ast.ClassDef | ast.FunctionDef) else None

    def class_in(self, path: Path, name: str) -> _Class | None:
        """The class ``name`` that the file ``path`` defines; None if its head does not parse, too."""
        if (path, name) not in self._classes:
            held = self.held(path)
            try:
                found = _Class(path, name, outline(held, name)) if held is not None and held.is_class(name) else None
            except OmniportError:
                found = None
            self._classes[path, name] = found
        return self._classes[path, name]

    def in_file(self, path: Path, name: str) -> _Class | _Function | None:
        """As :meth:`class_in`, functions included."""
        if (found := self.class_in(path, name)) is not None:
            return found
        node = self.node(path, name)
        return _Function(node) if isinstance(node, ast.FunctionDef) else None

    def path(self, module: str) -> Path | None:
        parts = module.split(".")
        if parts[0] != self.package.name:
            return None
        base = self.package.joinpath(*parts[1:])
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if path.is_file():
                return path
        return None

    def definition(self, module: str, name: str, depth: int = _DEPTH) -> _Class | _Function | None:
        """Class or function ``name`` of ``module``; None where it is something else, or too far to follow."""
        path = self.path(module)
        if path is None or not depth:
            return None
        found = self.in_file(path, name)
        if found is not None:
            return found
        place = self.imports(path, conditional=False).get(name)
        return self.definition(*place, depth - 1) if place is not None else None

    def imports(self, path: Path, *, conditional: bool) -> dict[str, tuple[str, str]]:
        if (path, conditional) not in self._imports:
            held = self.held(path)
            try:
                nodes = [*held.imports(), *(held.conditional() if conditional else ())] if held is not None else []
            except OmniportError:
                nodes = []
            self._imports[path, conditional] = _imports(nodes)
        return self._imports[path, conditional]

    def bases(self, found: _Class) -> list[_Class | None]:
        """The class and its bases within the tree; None for a base that cannot be read."""
        key = (found.file, found.name)
        if key not in self._bases:
            self._bases[key] = list(self._all_bases(found))
        return self._bases[key]

    def _all_bases(self, found: _Class) -> Iterator[_Class | None]:
        yield found
        imports = self.imports(found.file, conditional=True)
        for base in found.outline.bases:
            name = ast.unparse(base).split("[")[0]
            if name in ("object", "Generic", "Protocol", "ABC"):
                continue
            other = self.class_in(found.file, name)
            if other is None:
                imported = self.definition(*imports[name]) if name in imports else None
                other = imported if isinstance(imported, _Class) else None
            if other is None:
                yield None
            else:
                yield from self.bases(other)

    def has(self, path: Path, name: str, attribute: str) -> bool:
        """Whether class ``name`` in the file ``path`` has an attribute, or may have it."""
        found = self.class_in(path, name)
        if found is None or attribute in found.outline.members:
            return True
        if (path, name) not in self._names:
            self._names[path, name] = self.attributes(found)
        names = self._names[path, name]
        return names is None or attribute in names

    def attributes(self, found: _Class) -> set[str] | None:
        """Every attribute an instance has; None where a base cannot be read."""
        names: set[str] = set()
        for base in self.bases(found):
            node = self.node(base.file, base.name) if base is not None else None
            if not isinstance(node, ast.ClassDef):
                return None
            for inner in each_node(node):
                if isinstance(inner, ast.FunctionDef):
                    names.add(inner.name)
                elif isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
                    names.add(inner.attr)
            names |= _fields(node.body)
            for line in node.body:
                if isinstance(line, ast.Assign):
                    names |= {t.id for t in line.targets if isinstance(t, ast.Name)}
        return names

    def keywords(self, found: _Class | _Function) -> set[str] | None:
        """Keywords that a call of a function or class takes; None where it takes any, or cannot be told."""
        if isinstance(found, _Function):
            return _parameters(found.node)
        fields: set[str] = set()
        dataclass_like = False
        for base in self.bases(found):
            if base is not None and (init := base.method("__init__")) is not None:
                return _parameters(init)
            node = self.node(base.file, base.name) if base is not None else None
            if not isinstance(node, ast.ClassDef):
                return None
            dataclass_like |= any("dataclass" in ast.unparse(d) for d in node.decorator_list)
            fields |= _fields(node.body)
        return fields if dataclass_like else None


def _parameters(node: ast.FunctionDef) -> set[str] | None:
    arguments = node.args
    if arguments.kwarg is not None:
        return None
    return {a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}


def _imports(body: list[ast.stmt]) -> dict[str, tuple[str, str]]:
    """Local name -> module and name, of the absolute imports at the top of a module, conditional ones included."""
    found: dict[str, tuple[str, str]] = {}
    for node in body:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update({alias.asname or alias.name: (node.module, alias.name) for alias in node.names})
        elif isinstance(node, ast.If | ast.Try):
            found.update(_imports(node.body))
    return found


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{node.value.id}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _fields(body: list[ast.stmt]) -> set[str]:
    return {n.target.id for n in body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}


class _Module:
    def __init__(self, module: ast.Module, tree: _Tree) -> None:
        self.module, self.tree = module, tree
        self.imports = _imports(module.body)

    def findings(self) -> Iterator[tuple[int, str, str]]:
        yield from self._calls(self.module)
        for node in each_node(self.module):
            if isinstance(node, ast.FunctionDef):
                yield from self._attributes(node)
            elif isinstance(node, ast.ClassDef):
                yield from self._own_calls(node)

    def _calls(self, module: ast.Module) -> Iterator[tuple[int, str, str]]:
        """Calls of what the tree defines."""
        for node in each_node(module):
            if (
                not isinstance(node, ast.Call)
                or not isinstance(node.func, ast.Name)
                or node.func.id not in self.imports
            ):
                continue
            found = self.tree.definition(*self.imports[node.func.id])
            yield from self._keywords(node, node.func.id, self.tree.keywords(found) if found else None)

    def _own_calls(self, node: ast.ClassDef) -> Iterator[tuple[int, str, str]]:
        """Calls of ``self.method(...)`` where a base of the tree defines the method and the class does not."""
        own = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
        inherited: dict[str, _Class] = {}
        for base in node.bases:
            name = ast.unparse(base)
            found = self.tree.definition(*self.imports[name]) if name in self.imports else None
            for each in self.tree.bases(found) if isinstance(found, _Class) else ():
                if each is not None:
                    methods = filter(each.outline.members.is_function, each.outline.members)
                    inherited = dict.fromkeys(methods, each) | inherited
        for call in each_node(node) if inherited.keys() - own else ():
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                name = call.func.attr
                if _dotted(call.func.value) == "self" and name in inherited and name not in own:
                    method = inherited[name].method(name)
                    yield from self._keywords(call, f"self.{name}", _parameters(method) if method else None)

    def _keywords(self, call: ast.Call, name: str, known: set[str] | None) -> Iterator[tuple[int, str, str]]:
        for keyword in call.keywords if known is not None else ():
            if keyword.arg is not None and keyword.arg not in known:  # type: ignore[operator]
                yield call.lineno, f"{name}({keyword.arg}=...)", f"{name} takes no argument {keyword.arg} in this tree"

    def _attributes(self, function: ast.FunctionDef) -> Iterator[tuple[int, str, str]]:
        held: dict[str, tuple[str, str]] = dict(_HELD)
        for argument in (*function.args.args, *function.args.kwonlyargs):
            name = ast.unparse(argument.annotation) if argument.annotation is not None else ""
            if name in _REQUESTS:
                held[argument.arg] = _REQUESTS[name]
        for node in each_node(function):
            if not isinstance(node, ast.Attribute):
                continue
            owner = _dotted(node.value)
            place = held.get(owner)
            if place is not None and not self.tree.has(self.tree.package / place[0], place[1], node.attr):
                yield node.lineno, f"{owner}.{node.attr}", f"{place[1]} has no {node.attr} in this tree"
