"""From a reference transformer class to its normal form: which classes come along, and what each always does."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping

import libcst as cst

from omniport.analyse import knowledge, swaps
from omniport.analyse.alike import join_alike
from omniport.analyse.binding import bind, compared_with_none, parameters
from omniport.analyse.carried import carried_parameters
from omniport.analyse.class_names import class_names
from omniport.analyse.class_plans import class_plan, where_of
from omniport.analyse.closure import Closure
from omniport.analyse.demand import NOTHING, Demand
from omniport.analyse.interpret import Interpreter
from omniport.analyse.modes import Mode, modes_of
from omniport.analyse.starting import annotated, chosen, constant_assignment, nullness
from omniport.analyse.values import (
    PRESENT,
    UNKNOWN,
    Const,
    Instances,
    OneOf,
    Processor,
    Reference,
    Value,
    present,
)
from omniport.analyse.variants import Notes, Variant
from omniport.errors import UnsupportedError
from omniport.plan.model import ClassPlan, Decision, Why
from omniport.records import dataclass
from omniport.rewrite.normal.autocast import drop_disabled_autocast
from omniport.rewrite.normal.carried import Carried, spread_carried
from omniport.rewrite.normal.dissolved_dict import Spread, dissolve_dicts
from omniport.rewrite.normal.fold import fold
from omniport.rewrite.normal.inline_function import inline_functions
from omniport.rewrite.normal.inline_processor import block_masks, has_handover, inline_processor
from omniport.rewrite.normal.require_modes import require_modes
from omniport.rewrite.normal.strip_class import drop_local_imports, drop_processor_loops, strip_class, used_methods
from omniport.source.nodes import each_node
from omniport.source.slice import method as method_of
from omniport.source.syntax import constant, dotted
from omniport.source.tree import SourceModule, SourceTree
from omniport.source.walk import of_kind, unshared

_ROUNDS = 12


@dataclass(frozen=True)
class Specialised:
    """The classes of a port in dependency order (root last), folded, with what decided them."""

    classes: tuple[cst.ClassDef, ...]
    plans: tuple[ClassPlan, ...]
    dropped: tuple[Decision, ...]
    scopes: tuple[tuple[SourceModule, ...], ...]  # for each class, the modules its names belong to
    given: frozenset[tuple[str, str, str]]  # (class, function, parameter) that is never None


def specialise(
    tree: SourceTree,
    module: SourceModule,
    root: str,
    config: Mapping[str, object] | None = None,
    demand: Demand = NOTHING,
) -> Specialised:
    """Specialise the transformer class ``root`` of ``module``, for ``config`` where one is in hand.

    ``demand``: parameters of its forward that the pipeline passes a value for stay.

    Raises:
        UnsupportedError: a construct that cannot be followed, with its file and line.
    """
    return _Program(tree, config or {}, demand, carried_parameters(tree, module, demand)).run(module, root)


class _Program:
    def __init__(self, tree: SourceTree, config: Mapping[str, object], demand: Demand, carried: Carried) -> None:
        self.tree, self.config, self.given, self.carried = tree, config, demand.given, carried
        self.asked = swaps.asked(demand.processors)
        self.handed: set[tuple[str, Reference]] = set()  # classes, and processors that are their forwards now
        self.swapped: set[str] = set()  # places where a processor was set
        self.spread: Spread = {}
        self.without = demand.without
        self.modes: dict[str, Mode] = {}
        self.variants: dict[str, Variant] = {}
        self.notes = Notes()
        self.root = ""
        self.changed = False
        self.closure = Closure(tree)
        self.seen: set[int] = set()  # ids of the nodes of all variants: what is decided goes by the node

    def run(self, module: SourceModule, root: str) -> Specialised:
        reference = Reference(module.name, root)
        variant = self.make(reference, {}, None, root=True)
        self.root = variant.key
        self.variants[variant.key] = variant
        dropped = self.open_inputs(variant)
        self.initialise(variant)
        self.round()
        for _ in range(_ROUNDS):  # each with facts and notes of its own: those of the one that changes nothing hold
            self.changed = False
            self.notes = Notes()
            for each in list(self.variants.values()):
                each.attributes = {}
                self.initialise(each)
            self.round()
            if not self.changed:
                break
        else:
            raise UnsupportedError(f"{root}: the facts about its modules do not settle", module.file, 0)
        for place in swaps.unset(self.variants[self.root].swaps, self.swapped):
            raise UnsupportedError(f"{root} has no attention at {place} that a processor could be set on", module.file)
        used = self.reachable()
        order = sorted(used, key=lambda key: (key == self.root, self.depth(key)))
        stands = join_alike(self.variants, order, self.notes, class_names(self.variants, used, self.root))
        used, order = ([key for key in keys if stands[key] == key] for keys in (used, order))
        own = class_names(self.variants, used, self.root)
        names = {key: own[other] for key, other in stands.items()}
        return Specialised(
            classes=tuple(self.folded(self.variants[key], names) for key in order),
            plans=tuple(class_plan(self.variants[key], names[key], self.variants, self.notes) for key in order),
            dropped=dropped,
            scopes=tuple(self.variants[key].scopes for key in order),
            given=frozenset(
                (names[key], function, name)
                for key in order
                for function, table in self.variants[key].facts.items()
                for name, value in table.items()
                if present(value)
            ),
        )

    # ------------------------------------------------------------------------------------------------ interpreting
    def interpreter(self, variant: Variant, *, old_config: bool = False) -> Interpreter:
        return Interpreter(
            variant,
            self.notes,
            construct=self.construct,
            resolve=self.resolve,
            forward=self.call_forward,
            old_calls=self.tree.old_calls or old_config,
        )

    def initialise(self, variant: Variant) -> None:
        function = variant.methods.get("__init__")
        if function is None:
            raise UnsupportedError(f"{variant.origin.name} has no __init__ of its own", *where_of(variant.tree))
        interpreter = self.interpreter(variant, old_config=variant.key == self.root)
        interpreter.function(function, dict(variant.arguments))

    def round(self) -> None:
        for each in self.variants.values():
            each.done = False
        self.forward(self.variants[self.root])
        for each in list(self.variants.values()):
            if each.inputs is None and "forward" in each.methods:  # built, but no call of it was seen
                each.inputs = {p.name.value: UNKNOWN for p in parameters(each.methods["forward"])}
                self.changed = True
            if not each.done and each.inputs is not None:
                self.forward(each)

    def forward(self, variant: Variant) -> Value:
        variant.done = True
        function = variant.methods.get("forward")
        if function is None or variant.inputs is None:
            raise UnsupportedError(f"{variant.origin.name} has no forward of its own", *where_of(variant.tree))
        variant.result = self.interpreter(variant).function(function, dict(variant.inputs))
        return variant.result

    def call_forward(self, key: str, arguments: list[tuple[str | None, Value]], one_of_several: bool) -> Value | None:
        variant = self.variants.get(key)
        if variant is None or "forward" not in variant.methods:
            return PRESENT
        bound = bind(variant.methods["forward"], arguments)
        if bound is None and one_of_several:
            return None
        if bound is None:
            where = where_of(variant.methods["forward"])
            raise UnsupportedError(f"a call of {variant.origin.name}.forward does not fit its parameters", *where)
        if variant.widen(bound):
            self.changed = True
            variant.done = False
        return variant.result if variant.done else self.forward(variant)

    def open_inputs(self, variant: Variant) -> tuple[Decision, ...]:
        """The root's forward parameters: unknown, but for those a port leaves out."""
        dropped = []
        function = variant.methods.get("forward")
        if function is None:
            raise UnsupportedError(f"{variant.origin.name} has no method forward", *where_of(variant.tree))
        inputs: dict[str, Value] = {}
        optional = set() if self.tree.callers else compared_with_none(function)
        for param in parameters(function):
            name = param.name.value
            inputs[name] = PRESENT if param.default is None and name not in optional else UNKNOWN
            for pattern, value, reason in knowledge.DROPPED_PARAMETERS if name not in self.given else ():
                if pattern.match(name) and param.default is not None:
                    default = constant(param.default) if param.default is not None else value
                    bound = default if isinstance(default, bool) else value
                    inputs[name] = Const(bound)
                    dropped.append(Decision(name, bound, Why(reason, *where_of(function))))
        if function.params.star_kwarg is not None:
            inputs[function.params.star_kwarg.name.value] = Const({})
        variant.inputs = inputs
        apart = [(name, ", ".join(p.name.value for p in own)) for name, own in self.carried.items()]
        why = "a dict of attention arguments: a parameter of its own for each of its entries"
        return (*dropped, *(Decision(name, keys, Why(why, *where_of(function))) for name, keys in apart))

    # ------------------------------------------------------------------------------------------------ names, classes
    def resolve(self, variant: Variant, name: str) -> Value | None:
        for scope in variant.scopes:
            found = self.tree.resolve(scope.name, name)
            if found is not None:
                defined = found[0].definitions
                if defined.is_class(found[1]) or defined.is_function(found[1]):
                    return Reference(found[0].name, found[1])
                return constant_assignment(defined[found[1]])
            if name in scope.imports or name in scope.definitions:
                return PRESENT
        return PRESENT if name in _BUILTINS else None

    def construct(self, ref: Reference, arguments: list[tuple[str | None, Value]], owner: Variant) -> Value:
        module = self.tree.module(ref.module)
        assert module is not None
        if module.definitions.is_function(ref.name):
            node = module.definitions[ref.name]
            returns = [r for r in each_node(node) if isinstance(r, ast.Return)]
            plain = all(r.value and not (isinstance(r.value, ast.Constant) and r.value.value is None) for r in returns)
            return PRESENT if returns and plain else UNKNOWN
        members = module.outline(ref.name).members
        runs = members.is_function("forward")
        if members.is_function("__call__") and not runs:
            called = members["__call__"]
            assert isinstance(called, ast.FunctionDef)
            takes_attention = len(called.args.args) > 1 and called.args.args[1].arg == "attn"
            return Processor(ref) if takes_attention else PRESENT
        if not self.closure.brought(ref):
            return Instances(frozenset({f"import:{ref.module}.{ref.name}"})) if runs else PRESENT
        below = owner.set_below()
        own = swaps.set_on(below)
        if own is not None:
            arguments = swaps.with_processor(arguments, own)
        given = next((value.cls for _, value in arguments if isinstance(value, Processor)), None)
        function = self.closure.constructor(ref, module, given)
        where = module.file, module.definitions.span(ref.name).head + 1
        if function is None:
            raise UnsupportedError(f"{ref.name} has no __init__ of its own", *where)
        bound = bind(function, arguments)
        if bound is None:
            raise UnsupportedError(f"a call of {ref.name}() does not fit its parameters", *where)
        kept = Const | OneOf | Processor
        facts = {name: value if isinstance(value, kept) else nullness(value) for name, value in bound.items()}
        key = f"{ref.module}.{ref.name}({', '.join(f'{k}={v}' for k, v in sorted(facts.items(), key=lambda i: i[0]))})"
        key += f" with {below}" if below else ""
        if key not in self.variants:
            processor = next((v for v in facts.values() if isinstance(v, Processor)), None)
            processor = Processor(own.processor) if own is not None else processor
            spread = dict(self.spread.get(owner.assigning, ())) if owner.key == self.root else {}
            self.variants[key] = self.make(ref, facts, processor, key=key, spread=spread)
            self.variants[key].swaps = below
            if own is not None and (ref.name, own.processor) in self.handed:
                self.swapped.add(own.place)
            self.initialise(self.variants[key])
        if owner.key not in self.variants[key].owners:
            self.variants[key].owners.append(owner.key)
        return Instances(frozenset({key}))

    def make(
        self,
        ref: Reference,
        facts: dict[str, Value],
        processor: Processor | None,
        *,
        key: str = "",
        root: bool = False,
        spread: Carried | None = None,
    ) -> Variant:
        """The variant before interpretation: plumbing off, processor and helpers inlined."""
        module = self.tree.module(ref.module)
        assert module is not None
        carried = {**self.carried, **(spread or {})}
        stripped, found = self.inlined(module, ref, facts, processor, root, carried)
        if self.closure.lacks(module, ref.name, stripped):
            stripped, found = self.inlined(module, ref, facts, processor, root, carried, whole=True)
        constants = self.closure.class_constants(module, ref.name)
        arguments = dict(facts)
        if root:
            given = parameters(_method(stripped, "__init__"))
            defaults = {p.name.value: constant(p.default) for p in given if p.default is not None}
            self.modes = modes_of(ref.name, defaults, self.config, self.without)
            for param in given:
                name = param.name.value
                arguments[name] = chosen(self.modes[name]) if name in self.modes else annotated(param)
        stripped, found = self.with_inherited(module, ref.name, stripped, found)
        stripped = drop_disabled_autocast(drop_local_imports(used_methods(stripped)))
        if root:
            self.asked = (*self.asked, *swaps.own(self.tree, module, stripped))  # the first that is found holds
            stripped = drop_processor_loops(stripped)
            empty = swaps.left_out(stripped, self.given | self.carried.keys())
            stripped, self.spread = dissolve_dicts(stripped, swaps.taken(self.tree, self.asked), empty)
        made = Variant(key or ref.name, ref, unshared(stripped, self.seen), found, arguments, constants)
        made.swaps = self.asked if root else ()
        return made

    def inlined(
        self,
        module: SourceModule,
        ref: Reference,
        facts: dict[str, Value],
        processor: Processor | None,
        root: bool,
        carried: Carried,
        *,
        whole: bool = False,
    ) -> tuple[cst.ClassDef, tuple[SourceModule, ...]]:
        """The class without plumbing, processor and helpers inlined, with the modules its names belong to."""
        node, inherited = self.closure.flattened(module, ref.name, processor.cls if processor else None, whole=whole)
        stripped = spread_carried(strip_class(node, keep_docstring=root), carried)
        scopes = list(inherited)
        if has_handover(stripped):
            if processor is None:
                constants = self.closure.class_constants(module, ref.name)
                processor = self.default_processor(ref, node, facts, constants)
                node, inherited = self.closure.flattened(module, ref.name, processor.cls, whole=whole)
                stripped = strip_class(node, keep_docstring=root)
            owner = self.tree.module(processor.cls.module)
            assert owner is not None
            call = method_of(owner, processor.cls.name, "__call__")
            values = self.closure.class_constants(owner, processor.cls.name)
            literals = {k: v.value for k, v in values.items() if isinstance(v, Const)}
            stripped = inline_processor(stripped, call, literals, block_masks(owner.definitions.lines))
            self.handed.add((ref.name, processor.cls))
            scopes.append(owner)
        found = tuple(dict.fromkeys(scopes))
        return inline_functions(stripped, lambda name: self.closure.helper(found, name)), found

    def with_inherited(
        self, module: SourceModule, name: str, node: cst.ClassDef, scopes: tuple[SourceModule, ...]
    ) -> tuple[cst.ClassDef, tuple[SourceModule, ...]]:
        """``node`` with the methods of dropped mixins that it calls."""
        own = {m.name.value for m in node.body.body if isinstance(m, cst.FunctionDef)}
        called = {
            part.func.attr.value
            for part in of_kind(node, cst.Call)
            if isinstance(part.func, cst.Attribute) and dotted(part.func.value) == "self"
        }
        for method in sorted(called - own):
            found = self.closure.mixin_method(module, name, method)
            if found is not None:
                body = (*node.body.body, found[0].with_changes(decorators=()))
                node = node.with_changes(body=node.body.with_changes(body=body))
                scopes = tuple(dict.fromkeys((*scopes, found[1])))
        return node, scopes

    def default_processor(
        self, ref: Reference, node: cst.ClassDef, facts: dict[str, Value], constants: dict[str, Value]
    ) -> Processor:
        """What the constructor registers with ``set_processor`` when it is given no processor."""
        module = self.tree.module(ref.module)
        assert module is not None
        probe = Variant(f"probe {ref.name}", ref, node, (module,), dict(facts), constants)
        notes, self.notes = self.notes, Notes()
        self.interpreter(probe).function(_method(node, "__init__"), dict(facts))
        self.notes = notes
        found = probe.attributes.get("processor", UNKNOWN)
        if not isinstance(found, Processor):
            raise UnsupportedError(f"{ref.name}: which processor it takes by default is not known", *where_of(node))
        return found

    # ------------------------------------------------------------------------------------------------------- results
    def reachable(self) -> list[str]:
        """Variants that the last round really used."""
        return [key for key, v in self.variants.items() if key == self.root or (v.inputs is not None and v.owners)]

    def depth(self, key: str) -> int:
        """Children before the classes that build them."""
        below = [other.key for other in self.variants.values() if key in other.owners]
        return 1 + max((self.depth(other) for other in below), default=0)

    def folded(self, variant: Variant, names: dict[str, str]) -> cst.ClassDef:
        node = fold(variant.tree, self.notes, names).with_changes(name=cst.Name(names[variant.key]))
        return require_modes(node, self.modes) if variant.key == self.root else node


_BUILTINS = frozenset(dir(builtins))


def _method(node: cst.ClassDef, name: str) -> cst.FunctionDef:
    for function in node.body.body:
        if isinstance(function, cst.FunctionDef) and function.name.value == name:
            return function
    raise UnsupportedError(f"{node.name.value} defines no method {name}")
