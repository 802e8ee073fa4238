"""The normal form of a pipeline class: the facts folded in, and nothing left that nothing uses."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import libcst as cst

from omniport.errors import UnsupportedError
from omniport.records import dataclass
from omniport.rewrite.pipeline.absent import refused, stopped, whole
from omniport.rewrite.pipeline.blocks import bound, changed, indented, pure, statements, suite, without_lines
from omniport.rewrite.pipeline.carried import with_entries_apart
from omniport.rewrite.pipeline.docs import docstring
from omniport.rewrite.pipeline.evaluate import EMPTY, UNKNOWN, Facts, evaluate, is_literal
from omniport.rewrite.pipeline.fold import fold_function
from omniport.rewrite.pipeline.guards import unguarded
from omniport.rewrite.pipeline.kinds import with_known_kinds
from omniport.rewrite.pipeline.liveness import drop_dead_stores, read_first
from omniport.rewrite.pipeline.outputs import counted_for_prompts
from omniport.rewrite.pipeline.perturbed import with_own_call
from omniport.rewrite.pipeline.progress import iterate_with_bar
from omniport.rewrite.pipeline.rename import config_locals, replace_names
from omniport.rewrite.pipeline.spread import with_entries_spread
from omniport.rewrite.pipeline.state import with_local_state
from omniport.rewrite.pipeline.unused import class_variables, is_dead_store, without_argument, without_last_comma
from omniport.rewrite.pipeline.walk import all_parameters, attributes, calls, method_calls
from omniport.source.reading import reparse_cst
from omniport.source.syntax import dotted
from omniport.source.tree import SourceModule

ENTRY = "__call__"


@dataclass(frozen=True)
class Request:
    """What :func:`normalise` works from; hashable, so that analysis and rewriting share one result.

    ``arguments`` are the parameters of ``__call__`` that are bound to a constant, ``values`` everything else decided.
    ``kept`` are methods that stay though nothing in the class uses them.  ``init`` are parameters of the constructor
    that are bound, ``configs`` the keys that a config object (``self.transformer.config``) has, ``classes`` the class
    of a component and its bases, ``carried`` the entries of the denoiser's attention arguments that hold data,
    ``kinds`` what parameters of ``__call__`` may hold (None, str, list), ``signatures`` the parameters of functions,
    ``perturbed`` the layers whose attention is perturbed where a request names none, as source.
    """

    arguments: tuple[tuple[str, Any], ...]
    values: tuple[tuple[str, Any], ...]
    calls: tuple[tuple[str, Any], ...]
    removed_calls: frozenset[str]
    unwrapped: frozenset[str]
    lists: frozenset[str]
    kept: frozenset[str] = frozenset()
    init: tuple[tuple[str, Any], ...] = ()
    configs: tuple[tuple[str, tuple[str, ...]], ...] = ()
    classes: tuple[tuple[str, frozenset[str]], ...] = ()
    carried: tuple[tuple[str, tuple[str, ...]], ...] = ()
    kinds: tuple[tuple[str, frozenset[str]], ...] = ()
    signatures: tuple[tuple[str, frozenset[str]], ...] = ()
    perturbed: str | None = None


@dataclass(frozen=True)
class NormalClass:
    """The class after normalisation.

    ``methods`` in source order; ``variables`` are the class variables that they read; ``dropped_methods`` and
    ``dropped_parameters`` (method, parameter) say what went.
    """

    name: str
    doc: str
    methods: dict[str, cst.FunctionDef]
    dropped_methods: tuple[str, ...]
    dropped_parameters: tuple[tuple[str, str], ...]
    variables: tuple[cst.SimpleStatementLine, ...] = ()

    @property
    def entry(self) -> cst.FunctionDef:
        return self.methods[ENTRY]


@functools.lru_cache(maxsize=8)
def normalise(module: SourceModule, class_name: str, request: Request) -> NormalClass:
    """Fold ``request`` into class ``class_name`` of ``module``.

    Raises:
        UnsupportedError: the class has no ``__call__``, or uses ``locals()`` where it stays.
    """
    node = _class(module, class_name)
    work = _Work(node, module.file, request)
    work.run()
    return NormalClass(
        class_name,
        node.get_docstring() or "",
        work.methods,
        tuple(work.dropped),
        tuple(work.parameters),
        class_variables(node, work.methods),
    )


def _class(module: SourceModule, name: str) -> cst.ClassDef:
    """The class alone: nothing else of its module stays in the port."""
    module.class_def(name)  # read as Python first
    span = module.definitions.span(name)
    text = "\n".join(module.definitions.lines[span.first : span.end])
    node = reparse_cst(f"{text}\n", module.file, span.first + 1).body[0]
    assert isinstance(node, cst.ClassDef)
    return node


def parameter_names(node: cst.FunctionDef) -> list[str]:
    """Parameters of a method that a call can name, ``self`` aside (``*args`` and ``**kwargs`` are none)."""
    names = [p.name.value for p in (*node.params.posonly_params, *node.params.params, *node.params.kwonly_params)]
    static = any(dotted(d.decorator) == "staticmethod" for d in node.decorators)
    return names if static else names[1:]


class _Work:
    def __init__(self, node: cst.ClassDef, file: str, request: Request) -> None:
        self.file, self.request, self.name = file, request, node.name.value
        bases = [dotted(a.value) for a in node.bases]
        self.facts = Facts(
            dict(request.values),
            dict(request.calls),
            request.removed_calls,
            request.unwrapped,
            frozenset(b for b in bases if b),
            configs=dict(request.configs),
            classes=dict(request.classes),
            signatures=dict(request.signatures),
        )
        self.methods: dict[str, cst.FunctionDef] = {}
        for statement in node.body.body:
            if isinstance(statement, cst.FunctionDef):
                if any((dotted(d.decorator) or "").endswith(".setter") for d in statement.decorators):
                    continue  # the attribute behind the property is what methods of the class write
                if statement.name.value in self.methods:
                    raise UnsupportedError(f"{self.name} defines {statement.name.value} twice", file)
                self.methods[statement.name.value] = statement
        if ENTRY not in self.methods:
            raise UnsupportedError(f"{self.name} has no {ENTRY}", file)
        if request.perturbed is not None:
            self.methods = with_own_call(self.methods, ENTRY, request.perturbed, file)
        if (encode := self.methods.get("encode_prompt")) is not None:
            self.methods[ENTRY] = counted_for_prompts(self.methods[ENTRY], encode)
        self.methods[ENTRY] = with_entries_apart(self.methods[ENTRY], dict(request.carried), file)
        self.order = list(self.methods)
        self.owners = frozenset({"self", self.name})
        self.dropped: list[str] = []
        self.parameters: list[tuple[str, str]] = []
        self.constants: dict[str, dict[str, Any]] = {m: {} for m in self.methods}
        self.dirty = set(self.methods)
        own = frozenset(name for name, _ in request.init)
        #: Components that the model does not have, and methods that only say so: dotted name -> component.
        self.absent = {n: n[5:] for n, v in request.values if v is None and n.startswith("self.") and n[5:] in own}
        self.refusing: dict[str, str] = {}

    def run(self) -> None:
        self.constants[ENTRY] = dict(self.request.arguments)
        self.constants["__init__"] = dict(self.request.init)
        self._undocument(ENTRY)
        self._own_denoisers()
        for name in self.constants[ENTRY]:
            self._drop_parameter(ENTRY, name)
        if (star := self.methods[ENTRY].params.star_kwarg) is not None:
            self.constants[ENTRY][star.name.value] = EMPTY
        self._drop_unreachable()
        while self.dirty:
            dirty, self.dirty = self.dirty, set()
            for name in [m for m in self.order if m in dirty and m in self.methods]:
                self._fold(name)
            self._drop_unreachable()
            self._drop_unread_attributes()
            self._bind_parameters()
            self._drop_unread_parameters()
            if not self.dirty:
                self._decide_kinds()
                self._spread_entries()
                self._keep_state_local()
        entry = self.methods[ENTRY]
        block = drop_dead_stores(iterate_with_bar(suite(entry.body)))
        self.methods[ENTRY] = entry.with_changes(body=indented(block, entry.body))
        for name, node in self.methods.items():
            if calls(node, "locals"):
                raise UnsupportedError(f"{self.name}.{name} calls locals()", self.file)

    def _decide_kinds(self) -> None:
        """Questions about the type of a prompt, with the answer that is known."""
        if self.request.kinds:
            kinds = dict(self.request.kinds)
            new = with_known_kinds(self.methods, ENTRY, kinds, self.owners, lambda m: bool(self._sites(m)))
            self.methods |= new
            self.dirty |= set(new)

    def _spread_entries(self) -> None:
        if self.request.signatures:
            new = with_entries_spread(self.methods[ENTRY], self.methods)
            if new is not self.methods[ENTRY]:
                self.methods[ENTRY] = new
                self.dirty.add(ENTRY)

    def _keep_state_local(self) -> None:
        if (new := with_local_state(self.methods, ENTRY, self.request.kept)) is not None:
            self.methods[ENTRY] = new
            self.dirty |= {ENTRY, "__init__"} & self.methods.keys()

    def _own_denoisers(self) -> None:
        """The constructor's parameters that are denoisers by their attributes, as everywhere else in the class."""
        init = self.methods.get("__init__")
        if init is None:
            return
        owners = {config.split(".")[1] for config in self.facts.configs if config.count(".") == 2}
        names = owners & set(parameter_names(init)) - bound(suite(init.body))
        body = [replace_names(s, {n: f"self.{n}" for n in names}) for s in suite(init.body)]
        self.methods["__init__"] = changed(init, body=indented(body, init.body))

    def _undocument(self, name: str) -> None:
        node = self.methods[name]
        if docstring(node) is not None:
            self.methods[name] = node.with_changes(body=indented(suite(node.body)[1:], node.body))

    # ------------------------------------------------------------------------------------------------------ folding
    def _fold(self, name: str) -> None:
        old = self.methods[name]
        facts = self.facts
        if name == ENTRY:
            facts = dataclasses.replace(facts, lists=self.request.lists)
        new = fold_function(self._stopped(old), facts, self.constants[name])
        kept = drop_dead_stores(suite(new.body))
        block = config_locals(kept, parameter_names(new), facts.configs)
        if block is not kept:
            self.dirty.add(name)  # what is read of the config can be folded now
        new = changed(new, body=indented(block, new.body))
        self.methods[name] = new
        if name in self._candidates() and (component := refused(block, self.absent)):
            self.refusing[f"self.{name}"] = component
            self.dirty |= {m for m, node in self.methods.items() if name in attributes(node)}

    def _stopped(self, node: cst.FunctionDef) -> cst.FunctionDef:
        """A method that ends where it uses a component which the model does not have."""
        read = attributes(node)
        if not any(n[5:] in read for n in (*self.absent, *self.refusing)):
            return node
        block = whole(stopped(suite(node.body), self.absent, self.refusing), self.absent)
        return changed(node, body=indented(block, node.body))

    # -------------------------------------------------------------------------------------------------- unused parts
    def _drop_unreachable(self) -> None:
        seen: set[str] = set()
        todo = [ENTRY, "__init__", *self.request.kept]
        while todo:
            name = todo.pop()
            if name in seen or name not in self.methods:
                continue
            seen.add(name)
            for owner in self.owners:
                todo.extend(attributes(self.methods[name], owner))
        for name in [m for m in self.methods if m not in seen]:
            del self.methods[name]
            self.dropped.append(name)

    def _drop_unread_attributes(self) -> None:
        """Private attributes that are only written: ``self._x = value`` goes where the value has no effect."""
        read: set[str] = set()
        for node in self.methods.values():
            read.update(attributes(node))
        for name, node in list(self.methods.items()):
            block = suite(node.body)
            if any(isinstance(s, cst.SimpleStatementLine) and is_dead_store(s, read) for s in statements(block)):
                block = without_lines(block, lambda line: is_dead_store(line, read))
                self.methods[name] = node.with_changes(body=indented(block, node.body))
                self.dirty.add(name)

    def _sites(self, method: str) -> list[dict[str, cst.BaseExpression | None]] | None:
        """Arguments of every call of ``method`` inside the class; None if one cannot be bound, or it escapes."""
        names = parameter_names(self.methods[method])
        found = []
        uses = 0
        for node in self.methods.values():
            uses += sum(attributes(node, owner).get(method, 0) for owner in self.owners)
            for called, call in method_calls(node, self.owners):
                if called != method:
                    continue
                site: dict[str, cst.BaseExpression | None] = dict.fromkeys(names)
                for position, argument in enumerate(call.args):
                    key = argument.keyword.value if argument.keyword else None
                    if argument.star or (key is None and position >= len(names)) or (key and key not in names):
                        return None
                    site[key or names[position]] = argument.value
                found.append(site)
        return found if found and uses == len(found) else None

    def _candidates(self) -> list[str]:
        special = ("__init__", ENTRY, *self.request.kept)
        return [m for m in self.methods if m not in special and not self._is_property(m)]

    def _is_property(self, name: str) -> bool:
        return any(dotted(d.decorator) == "property" for d in self.methods[name].decorators)

    def _bind_parameters(self) -> None:
        """A parameter that every call inside the class leaves None is None; so with True, False and a number that the
        method only asks for in conditions."""
        for method in self._candidates():
            sites = self._sites(method)
            if sites is None:
                continue
            defaults = {p.name.value: p.default for p in all_parameters(self.methods[method].params)}
            for name in parameter_names(self.methods[method]):
                given = [s[name] for s in sites if s.get(name) is not None]
                values = [evaluate(v, self.facts) for v in given if v is not None]
                if len(given) < len(sites):
                    default = defaults.get(name)
                    values.append(UNKNOWN if default is None else evaluate(default, self.facts))
                alike = (
                    is_literal(values[0])
                    and (bool(given) or values[0] is None)
                    and all(type(v) is type(values[0]) and v == values[0] for v in values)
                )
                if alike and self._can_bind(method, name, values[0]):
                    self.constants[method][name] = values[0]
                    self._drop_parameter(method, name)
                elif alike and values[0] is None and (new := unguarded(self.methods[method], name)) is not None:
                    self.methods[method] = new  # which does not read the parameter any more
                    self.dirty.add(method)

    def _can_bind(self, method: str, name: str, value: Any) -> bool:
        """Whether nothing reads parameter ``name`` of a method any more once its value is known."""
        number = not isinstance(value, bool | None)
        facts = dataclasses.replace(self.facts, unwritten=frozenset({name})) if number else self.facts
        node = fold_function(self.methods[method], facts, {**self.constants[method], name: value})
        return name not in read_first(node)

    def _drop_unread_parameters(self) -> None:
        for method in self._candidates():
            node = self.methods[method]
            used = read_first(node)
            sites = self._sites(method)
            for name in parameter_names(node) if sites is not None else []:
                given = [v for s in sites or () if (v := s.get(name)) is not None]
                if name not in used and all(pure(v) for v in given):
                    self._drop_parameter(method, name)
            star = node.params.star_kwarg
            if star is not None and sites is not None and star.name.value not in used:
                self._drop_stars(method)  # every argument of every call has a parameter of its own

    def _drop_stars(self, method: str) -> None:
        node = self.methods[method]
        params = node.params.with_changes(star_kwarg=None, params=without_last_comma(node.params.params))
        self.methods[method] = node.with_changes(params=params)
        self.dirty.add(method)

    def _drop_parameter(self, method: str, name: str) -> None:
        node = self.methods[method]
        names = parameter_names(node)
        params = node.params
        for part in ("params", "kwonly_params", "posonly_params"):
            kept = [p for p in getattr(params, part) if p.name.value != name]
            params = params.with_changes(**{part: kept})
        if len(all_parameters(params)) == len(params.params):
            params = params.with_changes(params=without_last_comma(params.params))
        self.methods[method] = node.with_changes(params=params)
        self.parameters.append((method, name))
        self.dirty.add(method)
        for caller, body in list(self.methods.items()):
            if all(called != method for called, _ in method_calls(body, self.owners)):
                continue
            functions = {f"self.{method}", f"{self.name}.{method}"}
            if (new := without_argument(body, functions, name, names.index(name))) is not body:
                self.methods[caller] = new
                self.dirty.add(caller)
