"""Which classes of the reference come into a port, and what their class bodies say."""

from __future__ import annotations

import ast

import libcst as cst

from omniport.analyse import knowledge
from omniport.analyse.reach import droppable, lineage, unnamed
from omniport.analyse.values import Const, Reference, Value
from omniport.errors import UnsupportedError
from omniport.rewrite.normal.flatten_base import flatten_base
from omniport.source.nodes import each_node
from omniport.source.slice import class_without, definition
from omniport.source.slice import method as method_of
from omniport.source.syntax import dotted
from omniport.source.tree import SourceModule, SourceTree
from omniport.source.walk import of_kind


class Closure:
    """Looks up classes, helpers and class attributes in a source tree."""

    def __init__(self, tree: SourceTree) -> None:
        self.tree = tree
        self._brought: dict[Reference, bool] = {}
        self._constants: dict[tuple[str, str], dict[str, Value]] = {}
        self._signatures: dict[Reference, cst.FunctionDef | None] = {}

    def flattened(
        self, module: SourceModule, name: str, processor: Reference | None = None, *, whole: bool = False
    ) -> tuple[cst.ClassDef, tuple[SourceModule, ...]]:
        """A class with its bases in the reference written out, and the modules its names belong to.

        Without methods that nothing on the way from constructor, forward and ``processor`` names, if not ``whole``.
        """
        call = self.tree.module(processor.module) if processor is not None else None
        place = (call, processor.name) if call is not None and processor is not None else None
        left_out = frozenset[str]() if whole else unnamed(self.tree, module, name, place)
        return self._flattened(module, name, left_out, ())

    def _flattened(
        self, module: SourceModule, name: str, left_out: frozenset[str], below: tuple[str, ...]
    ) -> tuple[cst.ClassDef, tuple[SourceModule, ...]]:
        """``below`` are the classes that led here, each a base of the one before."""
        if f"{module.name}.{name}" in below:
            raise UnsupportedError(f"class {name} is a base of its own", module.file)
        single = frozenset(droppable(module.outline(name).members))
        node = class_without(module, name, single, left_out & single)
        scopes = [module]
        for base in node.bases:
            text = base.value.value if isinstance(base.value, cst.Name) else ""
            found = self.tree.resolve(module.name, text) if text and not knowledge.DROPPED_BASES.match(text) else None
            if found is not None and found[0].definitions.is_class(found[1]):
                inner, inner_scopes = self._flattened(*found, left_out, (*below, f"{module.name}.{name}"))
                node = flatten_base(node, inner)
                scopes.extend(inner_scopes)
        return node, tuple(dict.fromkeys(scopes))

    def lacks(self, module: SourceModule, name: str, node: cst.ClassDef) -> bool:
        """Whether ``node``, made of the class ``name``, reads a method that was left out."""
        own = {member.name.value for member in node.body.body if isinstance(member, cst.FunctionDef)}
        places = lineage(self.tree, module, name)
        left_out = {method for scope, cls in places for method in droppable(scope.outline(cls).members)} - own
        return bool(left_out) and any(
            read.attr.value in left_out and dotted(read.value) == "self" for read in of_kind(node, cst.Attribute)
        )

    def mixin_method(self, module: SourceModule, cls: str, method: str) -> tuple[cst.FunctionDef, SourceModule] | None:
        """A method that ``cls`` has from a mixin of the reference, with the mixin's module."""
        for base in module.outline(cls).bases:
            found = self.tree.resolve(module.name, base.id) if isinstance(base, ast.Name) else None
            if found is None or not found[0].definitions.is_class(found[1]):
                continue
            if found[0].outline(found[1]).members.is_function(method):
                return method_of(found[0], found[1], method), found[0]
            inherited = self.mixin_method(*found, method)
            if inherited is not None:
                return inherited
        return None

    def constructor(
        self, ref: Reference, module: SourceModule, processor: Reference | None = None
    ) -> cst.FunctionDef | None:
        """The constructor of a class, inherited or its own, for reading only; None if there is none."""
        if ref not in self._signatures:
            members = self.flattened(module, ref.name, processor)[0].body.body
            found = (m for m in members if isinstance(m, cst.FunctionDef) and m.name.value == "__init__")
            self._signatures[ref] = next(found, None)
        return self._signatures[ref]

    def helper(self, scopes: tuple[SourceModule, ...], name: str) -> cst.FunctionDef | None:
        for scope in scopes:
            found = self.tree.resolve(scope.name, name)
            if found is not None and found[0].definitions.is_function(found[1]):
                return definition(found[0], found[1], cst.FunctionDef)
        return None

    def class_constants(self, module: SourceModule, name: str) -> dict[str, Value]:
        """Class attributes with literal values, its own before those of its bases (one level of mixins each)."""
        found: dict[str, Value] = {}
        todo, seen = [(module, name)], set()
        while todo:
            scope, cls = todo.pop(0)
            if (scope.name, cls) in seen:
                continue
            seen.add((scope.name, cls))
            found = self.own_constants(scope, cls) | found
            for base in scope.outline(cls).bases:
                resolved = self.tree.resolve(scope.name, base.id) if isinstance(base, ast.Name) else None
                if resolved and resolved[0].definitions.is_class(resolved[1]):
                    todo.append(resolved)
        return found

    def own_constants(self, module: SourceModule, name: str) -> dict[str, Value]:
        """The same of the class itself."""
        if (module.name, name) in self._constants:
            return self._constants[module.name, name]
        found = self._constants[module.name, name] = {}
        members = module.outline(name).members
        for target in members:
            statement = None if members.is_function(target) or members.is_class(target) else members.get(target)
            value = statement.value if isinstance(statement, ast.Assign) else None
            if isinstance(value, ast.Constant):
                found[target] = Const(value.value)
            elif isinstance(value, ast.Name) and target == "_default_processor_cls":
                resolved = self.tree.resolve(module.name, value.id)
                if resolved:
                    found[target] = Reference(resolved[0].name, resolved[1])
        return found

    def brought(self, ref: Reference) -> bool:
        """Whether a class comes into the port: it or its base builds a linear or a depthwise convolution, runs a
        processor, or builds a class that does."""
        if ref not in self._brought:
            self._brought[ref] = False  # for recursion
            module = self.tree.module(ref.module)
            assert module is not None
            self._brought[ref] = not any(ref.module.endswith(end) for end in knowledge.IMPORTED) and self.holds(
                module, ref.name
            )
        return self._brought[ref]

    def holds(self, module: SourceModule, name: str) -> bool:
        cls = module.class_def(name)
        for base in cls.bases:
            inherited = self.tree.resolve(module.name, base.id) if isinstance(base, ast.Name) else None
            if (
                inherited
                and not knowledge.DROPPED_BASES.match(inherited[1])
                and inherited[0].definitions.is_class(inherited[1])
                and self.brought(Reference(inherited[0].name, inherited[1]))
            ):
                return True
        for node in each_node(cls):
            if isinstance(node, ast.Attribute) and node.attr in ("set_processor", "_default_processor_cls"):
                return True
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            grouped = called == "Conv2d" and any(keyword.arg == "groups" for keyword in node.keywords)
            if called == "Linear" or grouped:
                return True
            found = self.tree.resolve(module.name, called) if isinstance(node.func, ast.Name) else None
            if found and found[0].definitions.is_class(found[1]) and self.brought(Reference(found[0].name, found[1])):
                return True
        return False
