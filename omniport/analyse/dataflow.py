"""One walk over a normal form: its constructors with symbolic sizes, then its forward with abstract tensors.

Calls of modules are followed into their classes, so each value is seen under the arguments that reach it.  A branch
that the known values do not decide is walked both ways; a loop over repeated blocks is walked until nothing changes.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from omniport.analyse.calls import Calls
from omniport.analyse.entry import parameters
from omniport.analyse.expressions import Env, text
from omniport.analyse.facts import Decisions, Facts, RootCall, UnfitError
from omniport.analyse.kept import Kept
from omniport.analyse.ops import tensors_in
from omniport.analyse.places import read
from omniport.analyse.poly import Poly
from omniport.analyse.shapes import (
    Instance,
    Leaf,
    Num,
    Opaque,
    Tensor,
)
from omniport.analyse.statements import Statements
from omniport.errors import UnsupportedError
from omniport.source.nodes import methods
from omniport.source.normal import NormalForm
from omniport.source.tree import SourceTree

_DEPTH = 40  # of calls within calls


class Walk(Calls, Statements):
    """Walks ``normal`` under ``decisions``; raises Demand or Refine when a decision has to change."""

    def __init__(self, normal: NormalForm, decisions: Decisions, source: SourceTree | None = None) -> None:
        super().__init__(decisions)
        self.normal, self.source = normal, source
        module = normal.tree
        placed, attending = read(module)
        self.imports = {
            alias.asname or alias.name: (node.module or "", alias.name)
            for node in module.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        self.placed, self.attending = set(placed), set(attending)
        self.home: dict[str, str] = {}  # imported class -> the module it was read from
        self.imported: set[str] = set()  # classes that were read from the reference package
        self.classes = {node.name: node for node in module.body if isinstance(node, ast.ClassDef)}
        self.functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
        self.returns: list[list[Any]] = []
        self.active = []
        self.optional: dict[int, Any] = {}  # by identity: values that may be None
        self.building = self.undecided = 0  # depth of constructors, of branches that may not be taken
        self.read: set[str] = set()
        self.picked: bool | None = None
        self.loops = 0  # depth of loops with an unknown number of rounds
        self.line = 0
        self.kept = Kept(self.join)
        self.asked_of: set[str] = set()  # classes whose modules' attributes were read behind the constructors

    def unsupported(self, construct: str, node: ast.AST | None = None) -> UnsupportedError:
        origin = self.normal.origin(getattr(node, "lineno", self.line))
        return UnsupportedError(construct, origin.file, origin.line)

    # ------------------------------------------------------------------------------------------------------ the model
    def run(self) -> Facts:
        """Build the root symbolically and follow its forward."""
        self.build()
        root = self.root
        env: Env = {"self": root}
        for name, default, annotation in parameters(self.method_of(root.cls, "forward"))[1:]:
            env[name] = self.input(name, default, annotation)
        self.facts.line = self.method_of(root.cls, "forward").lineno
        for name, value in env.items():
            for tensor in tensors_in([value]):
                tensor.origins = self.origins_of(name)
        self.facts.inputs = {name: value for name, value in env.items() if isinstance(value, Tensor)}
        return self.ended(self.body(root, "forward", env))

    def ended(self, result: Any) -> Facts:
        """What was found, where the forward returns ``result``."""
        self.facts.outputs = tensors_in([result])
        self.demand(self.facts.outputs, "is a result of the model")
        return self.facts

    def build(self) -> None:
        """Construct the root."""
        root = self.root = Instance(self.normal.root)
        init = self.method_of(root.cls, "__init__")
        for name, default, _ in parameters(init)[1:]:
            value = ast.literal_eval(default) if isinstance(default, ast.Constant) else default
            number = isinstance(value, int | float) and not isinstance(value, bool)
            root.bindings[name] = Num(Poly.of(name)) if number or default is None else Opaque(name)
        self.construct(root, {})

    def construct(self, instance: Instance, given: dict[str, Any]) -> None:
        """Run ``__init__`` of a class of the normal form."""
        self.facts.instances.setdefault(instance.cls, []).append(instance)
        instance.bindings.update(given)
        instance.locals = {"self": instance, **instance.bindings}
        self.building += 1
        self.body(instance, "__init__", instance.locals)
        self.building -= 1

    def method_of(self, cls: str, name: str) -> ast.FunctionDef:
        found = methods(self.classes[cls]).get(name)
        if found is not None:
            return found
        raise self.unsupported(f"class {cls} has no {name}", self.classes[cls])

    def body(self, instance: Instance, name: str, env: Env) -> Any:
        """Run a method with bound arguments and join what it returns."""
        return self.run_function(self.method_of(instance.cls, name), instance, env)

    def run_function(self, function: ast.FunctionDef, instance: Instance, env: Env) -> Any:
        if len(self.returns) > _DEPTH:
            raise self.unsupported(f"{function.name} calls itself", function)
        outer, line = getattr(self, "instance", instance), self.line
        self.instance = instance
        self.returns.append([])
        self.block(function.body, env)
        self.instance, self.line = outer, line
        return self.joined(self.returns.pop())

    def bind(self, function: ast.FunctionDef, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Env:
        """Arguments by parameter name, defaults included, ``self`` excluded."""
        names = [spec for spec in parameters(function) if spec[0] != "self"]
        rest = function.args.kwarg is not None or function.args.vararg is not None
        strange = set(kwargs) - {name for name, _, _ in names} - {"**"}
        if not rest and (len(args) > len(names) or strange):
            origin = self.normal.origin(getattr(node, "lineno", self.line))
            raise UnfitError(f"call does not fit {function.name}: {text(node)}", origin.file, origin.line)
        env = dict(zip([name for name, _, _ in names], args, strict=False)) | kwargs
        env.pop("**", None)
        for extra in (function.args.kwarg, function.args.vararg):
            if extra is not None:
                env[extra.arg] = Opaque(extra.arg)
        for name, default, _ in names:
            if name not in env:
                if default is None and "**" in kwargs:
                    env[name] = self.maybe(Tensor(None))
                    continue
                if default is None:
                    raise self.unsupported(f"argument {name} is missing: {text(node)}", node)
                env[name] = self.eval(default, {})
        return env

    def call_module(self, module: Instance, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
        env = self.bind(self.method_of(module.cls, "forward"), args, kwargs, node)

        if module.cls not in self.imported:
            env |= {name: self.of_its_name(name, value) for name, value in env.items()}

        def run() -> Any:
            return self.run_module(module, env)

        def foreign() -> Any:
            return self.attempt(run, lambda: self.unknown(env.values(), module.cls))

        return self.logged(module, env, foreign if module.cls in self.imported else run)

    def run_module(self, module: Instance, env: Env) -> Any:
        """Follow the forward of a module, whose parameters are bound."""
        return self.body(module, "forward", {"self": module, **env})

    def attempt(self, run: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
        """Walk code that is not part of the port; ``otherwise`` if it holds a construct that is not followed."""
        state = self.mark()
        try:
            return run()
        except UnsupportedError:
            self.reset(state)
            return otherwise()

    def bring(self, name: str) -> ast.ClassDef | ast.FunctionDef | None:
        """The definition of an imported name in the reference package, where there is one."""
        module, attribute = self.imports.get(name, ("", ""))
        found = self.source.resolve(module, attribute) if self.source is not None and module else None
        node = found[0].definitions[found[1]] if found is not None else None
        if found is None or not isinstance(node, ast.ClassDef | ast.FunctionDef):
            return None
        if isinstance(node, ast.ClassDef):
            self.home[name] = found[0].name
        for local in (*found[0].imports, *found[0].definitions):
            if local not in self.classes and local not in self.functions:
                self.imports.setdefault(local, (found[0].name, local))
        return node

    def logged(self, module: Instance | Leaf, inputs: Env, run: Any) -> Any:
        """Run a module call; note it if it happens in the forward of the root."""
        top, line = self.instance is self.root and len(self.returns) == 1, self.line
        result = run()
        if top:
            self.facts.calls.append(RootCall(module.path, inputs, result, line, self.loops > 0))
        return result
