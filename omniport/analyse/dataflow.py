"""One walk over a normal form: its constructors with symbolic sizes, then its forward with abstract tensors.

Calls of modules are followed into their classes, so each value is seen under the arguments that reach it.  A branch
that the known values do not decide is walked both ways; a loop over repeated blocks is walked until nothing changes.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from typing import Any

from omniport.analyse.calls import Calls
from omniport.analyse.entry import Entry, parameters
from omniport.analyse.expressions import text
from omniport.analyse.facts import Decisions, Facts, RootCall, UnfitError
from omniport.analyse.ops import tensors_in
from omniport.analyse.places import read
from omniport.analyse.poly import Poly
from omniport.analyse.shapes import (
    Closure,
    Const,
    Either,
    Function,
    Instance,
    Leaf,
    Method,
    Modules,
    Num,
    Opaque,
    Seq,
    Tensor,
    adopt,
    modules_in,
    same,
)
from omniport.errors import UnsupportedError
from omniport.source.nodes import each_node
from omniport.source.normal import NormalForm
from omniport.source.tree import SourceTree

Env = dict[str, Any]
_WITHOUT_EFFECT = ast.Pass | ast.Assert | ast.Import | ast.ImportFrom | ast.Continue | ast.Break | ast.Delete
_DEPTH = 40  # of calls within calls
_LOOPS = 6  # a loop over blocks is stable after the second pass


class Walk(Calls, Entry):
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

    def unsupported(self, construct: str, node: ast.AST | None = None) -> UnsupportedError:
        origin = self.normal.origin(getattr(node, "lineno", self.line))
        return UnsupportedError(construct, origin.file, origin.line)

    # ------------------------------------------------------------------------------------------------------ the model
    def run(self) -> Facts:
        """Build the root symbolically and follow its forward."""
        root = self.root = Instance(self.normal.root)
        init = self.method_of(root.cls, "__init__")
        for name, default, _ in parameters(init)[1:]:
            value = ast.literal_eval(default) if isinstance(default, ast.Constant) else default
            number = isinstance(value, int | float) and not isinstance(value, bool)
            root.bindings[name] = Num(Poly.of(name)) if number or default is None else Opaque(name)
        self.construct(root, {})
        env: Env = {"self": root}
        for name, default, annotation in parameters(self.method_of(root.cls, "forward"))[1:]:
            env[name] = self.input(name, default, annotation)
        self.facts.line = self.method_of(root.cls, "forward").lineno
        for name, value in env.items():
            for tensor in tensors_in([value]):
                tensor.origins = self.origins_of(name)
        self.facts.inputs = {name: value for name, value in env.items() if isinstance(value, Tensor)}
        result = self.body(root, "forward", env)
        self.facts.outputs = tensors_in([result])
        self.demand(self.facts.outputs, "is a result of the model")
        return self.facts

    def construct(self, instance: Instance, given: dict[str, Any]) -> None:
        """Run ``__init__`` of a class of the normal form."""
        self.facts.instances.setdefault(instance.cls, []).append(instance)
        instance.bindings.update(given)
        instance.locals = {"self": instance, **instance.bindings}
        self.building += 1
        self.body(instance, "__init__", instance.locals)
        self.building -= 1

    def method_of(self, cls: str, name: str) -> ast.FunctionDef:
        for node in self.classes[cls].body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                return node
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

    def joined(self, returned: list[Any]) -> Any:
        """What holds of all that a function may return."""
        result = returned[0] if returned else Const(None)
        for other in returned[1:]:
            result = self.join(result, other)
        return result

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
            return self.body(module, "forward", {"self": module, **env})

        def foreign() -> Any:
            return self.attempt(run, lambda: self.unknown(env.values(), module.cls))

        return self.logged(module, env, foreign if module.cls in self.imported else run)

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

    # ------------------------------------------------------------------------------------------------------ statements
    def block(self, body: list[ast.stmt], env: Env) -> bool:
        """Run statements; True if control does not leave at their end."""
        for node in body:
            self.line = node.lineno
            if self.follow(node, env):
                return True
        return False

    def follow(self, node: ast.stmt, env: Env) -> bool:
        """A statement; what cannot be followed is given up."""
        state = self.mark()
        try:
            return self.statement(node, env)
        except UnfitError as error:
            self.reset(state)
            if not self.undecided:
                self.give_up(node, env, error)
            return self.undecided > 0  # a branch that the configuration never takes
        except UnsupportedError as error:
            self.reset(state)
            self.give_up(node, env, error)
            if not any(isinstance(inner, ast.Return) for inner in each_node(node)):
                return False
            self.returns[-1].append(Tensor(None))
            return isinstance(node, ast.Return)

    def statement(self, node: ast.stmt, env: Env) -> bool:
        if isinstance(node, ast.Assign):
            value = self.eval(node.value, env)
            for target in node.targets:
                self.assign(target, value, env)
        elif isinstance(node, ast.AnnAssign):
            if node.value is not None:
                self.assign(node.target, self.eval(node.value, env), env)
        elif isinstance(node, ast.AugAssign):
            self.assign(node.target, self.eval(_operation(node), env), env)
        elif isinstance(node, ast.Expr):
            if not isinstance(node.value, ast.Constant):
                self.eval(node.value, env)
        elif isinstance(node, ast.Return):
            self.returns[-1].append(self.eval(node.value, env) if node.value else Const(None))
            return True
        elif isinstance(node, ast.If):
            return self.branch(node, env)
        elif isinstance(node, ast.For):
            self.loop(node, env)
        elif isinstance(node, ast.Raise):
            return True
        elif isinstance(node, ast.FunctionDef):
            env[node.name] = Closure(node, env)
        elif isinstance(node, ast.With):
            for item in node.items:
                self.eval_or_give_up(item.context_expr, env)
            return self.block(node.body, env)
        elif not isinstance(node, _WITHOUT_EFFECT):
            raise self.unsupported(f"statement {type(node).__name__}", node)
        return False

    def assign(self, target: ast.expr, value: Any, env: Env) -> None:
        if isinstance(value, Either) and isinstance(target, ast.Tuple):
            fits = [v for v in value.items if isinstance(v, Seq) and len(v.items) == len(target.elts)]
            value = fits[0] if fits else value
            for other in fits[1:]:
                value = self.join(value, other)
        if isinstance(target, ast.Name):
            env[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List):
            items = value.items if isinstance(value, Seq) and not value.many else None
            if items is None and isinstance(value, Tensor):
                rank = len(value.dims) - 1 if value.dims else None
                items = [self.unknown((value,), "unpacking a tensor", rank)] * len(target.elts)
            elif items is None and isinstance(value, Opaque | Num | Method | Seq):
                items = [value.items[0] if isinstance(value, Seq) else Opaque(f"{text(target)}")] * len(target.elts)
                if isinstance(value, Opaque) and ".shape of" in value.text:
                    items = [Num(Poly.of(f"{value.text}[{at}]")) for at in range(len(target.elts))]
            stars = [i for i, e in enumerate(target.elts) if isinstance(e, ast.Starred)]
            if items is not None and stars and isinstance(value, Seq):
                at, rest = stars[0], len(target.elts) - stars[0] - 1
                items = [*items[:at], Seq(items[at : len(items) - rest]), *items[len(items) - rest :]]
            if items is None or len(items) != len(target.elts):
                raise self.unsupported(f"cannot unpack {text(target)}", target)
            for element, item in zip(target.elts, items, strict=True):
                self.assign(element.value if isinstance(element, ast.Starred) else element, item, env)
        elif isinstance(target, ast.Subscript) and isinstance(owner := self.eval(target.value, env), Tensor):
            self.store(owner, target, value, env)
        elif isinstance(target, ast.Attribute) and isinstance(owner := self.eval(target.value, env), Instance):
            owner.attributes[target.attr] = value
            adopt(value, owner, target.attr)
        else:
            raise self.unsupported(f"assignment to {text(target)}", target)

    def store(self, owner: Tensor, target: ast.Subscript, value: Any, env: Env) -> None:
        """``owner[...] = value``: the value is sharded and walks as the part of ``owner`` that it replaces."""
        part = self.eval(target, env)
        if isinstance(value, Tensor) and isinstance(part, Tensor) and part.dims is not None:
            self.combine([part, value])
        else:
            self.unknown((owner, value), "an assignment to a part of a tensor")

    def branch(self, node: ast.If, env: Env) -> bool:
        decided = self.truth(self.eval_or_give_up(node.test, env), node.test)
        if decided is not None:
            return self.block(node.body if decided else node.orelse, env)
        instance, before = self.instance, dict(self.instance.attributes)
        other = dict(env)
        self.assume(node.test, env, other)
        self.undecided += 1
        ended = self.block(node.body, env)
        after, instance.attributes = instance.attributes, before
        other_ended = self.block(node.orelse, other)
        self.undecided -= 1
        self.ratios = self.compared(node.test, other)
        for name, value in after.items():
            instance.attributes[name] = self.join(value, instance.attributes.get(name, Const(None)))
        if ended and not other_ended:
            env.clear()
            env.update(other)
        elif not ended and not other_ended:
            for name, value in other.items():
                if name not in env or self.read_again(name):
                    env[name] = self.join(env[name], value) if name in env else value
        self.ratios = []
        return ended and other_ended

    def read_again(self, name: str) -> bool:
        """Whether ``name`` may be read behind a condition whose paths meet."""
        return True

    def assume(self, test: ast.expr, taken: Env, other: Env) -> None:
        """What an undecided condition says of the values on either path."""

    def loop(self, node: ast.For, env: Env) -> None:
        items, many = self.iterate(self.eval_or_give_up(node.iter, env), node)
        if many and not items:
            return
        if not many:
            for item in items:
                self.assign(node.target, item, env)
                self.block(node.body, env)
            return
        self.loops += 1
        own = {name.id for name in each_node(node.target) if isinstance(name, ast.Name)}
        for turn in range(_LOOPS):
            before = {name: self.now(value) for name, value in env.items() if name not in own}
            self.assign(node.target, items[0], env)
            self.block(node.body, env)
            stable = True
            for name, value in before.items():
                wide = turn > 1 and not same(value, env[name])
                met = self.widen(value, env[name], name) if wide else self.join(env[name], value)
                stable &= same(value, met if wide else env[name])
                env[name] = met
            if stable:
                break
        else:
            raise self.unsupported(f"a loop that changes the shape of its values: for {text(node.target)}", node)
        self.loops -= 1

    def now(self, value: Any) -> Any:
        """A value in front of a round of a loop, to be compared with the one behind it."""
        return value

    def join(self, a: Any, b: Any) -> Any:
        """What holds on both paths; it may be None if one of them may."""
        if a is b:
            return a
        joined = self.join_known(a, b)
        for tensor in [joined] if isinstance(joined, Tensor) and joined.origins is None else []:
            origins = [x.origins for x in tensors_in([a, b])]
            tensor.origins = None if None in origins else frozenset(name for x in origins for name in x or ())
        return self.maybe(joined, id(a) in self.optional or id(b) in self.optional)

    def join_known(self, a: Any, b: Any) -> Any:
        if same(a, b):
            return a.alike(a.known) if isinstance(a, Tensor) else a  # one of two values: neither of them
        for one, other in ((a, b), (b, a)):
            if isinstance(one, Const) and one.value is None and not isinstance(other, Const):
                copy = other.alike(other.known) if isinstance(other, Tensor) else other
                return self.maybe(copy, not isinstance(other, Opaque | Num))
        if isinstance(a, Seq) and isinstance(b, Seq) and len(a.items) == len(b.items):
            return Seq([self.join(x, y) for x, y in zip(a.items, b.items, strict=True)], a.many or b.many)
        if isinstance(a, Seq) and isinstance(b, Seq) and not (a.items and b.items):
            return Seq(a.items or b.items, True)
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            if a.dims is not None and b.dims is not None and len(a.dims) == len(b.dims):
                return Tensor(tuple(self.meet(x, y) for x, y in zip(a.dims, b.dims, strict=True)))
            return self.join_open(a, b)
        choices = [item for value in (a, b) for item in (value.items if isinstance(value, Either) else [value])]
        if all(isinstance(item, Instance | Leaf | Modules) for item in choices):
            return Either(list({id(item): item for item in choices}.values()))
        if isinstance(a, Tensor | Seq) or isinstance(b, Tensor | Seq):
            return self.unknown((a, b), "a value whose kind depends on a condition")
        if isinstance(a, Num) and isinstance(b, Num):
            self.facts.choices[either := f"{a.poly} or {b.poly}"] = (a.poly, b.poly)
            return Num(Poly.of(either))
        if isinstance(a, Function | Opaque | Num | Const) and isinstance(b, Function | Opaque | Num | Const):
            return (
                Function("|".join(f.name for f in (a, b) if isinstance(f, Function)))
                if isinstance(a, Function) and isinstance(b, Function)
                else Opaque("either")
            )
        modules = [*modules_in(a), *modules_in(b)]
        if modules and not self.building:
            raise self.unsupported("a module that depends on a condition")
        return Opaque("either")


@functools.lru_cache(maxsize=500)
def _operation(node: ast.AugAssign) -> ast.BinOp:
    """What an augmented assignment assigns."""
    target = ast.parse(text(node.target), mode="eval").body
    return ast.copy_location(ast.BinOp(target, node.op, node.value), node)
