"""The normal form of a reference transformer, with the decisions that led to it."""

from __future__ import annotations

import ast
import builtins
import functools
from collections.abc import Mapping
from typing import Any

import libcst as cst

from omniport.analyse.demand import NOTHING, Demand
from omniport.analyse.host_tables import host_tables
from omniport.analyse.size_tables import size_tables
from omniport.analyse.specialise import Specialised, specialise
from omniport.analyse.wrappers import wrappers
from omniport.errors import UnsupportedError
from omniport.plan.model import ClassPlan, Decision, Why
from omniport.records import dataclass
from omniport.rewrite.normal.attention_mask import broadcast_masks
from omniport.rewrite.normal.config_reads import config_reads
from omniport.rewrite.normal.dead_code import drop_dead_code
from omniport.rewrite.normal.device_moves import drop_device_moves
from omniport.rewrite.normal.docstring import DropDocstringEntries, own_entries
from omniport.rewrite.normal.expanded_mask import unexpanded_masks
from omniport.rewrite.normal.given_sizes import drop_given_sizes
from omniport.rewrite.normal.head_numbers import head_numbers
from omniport.rewrite.normal.image_inputs import drop_image_inputs
from omniport.rewrite.normal.leading_lines import tidy_leading_lines
from omniport.rewrite.normal.local_alias import inline_local_aliases
from omniport.rewrite.normal.model_properties import model_properties
from omniport.rewrite.normal.narrow_modulation import narrow_modulation
from omniport.rewrite.normal.never_given import make_local
from omniport.rewrite.normal.old_config import drop_deprecations
from omniport.rewrite.normal.parameters import drop_unused_parameters, merge_equal_parameters, require_parameters
from omniport.rewrite.normal.shapes import shorten_shapes
from omniport.rewrite.normal.shorten import inline_aliases, shorten
from omniport.rewrite.normal.simplify import simplify
from omniport.rewrite.normal.usage import UsageCache
from omniport.source.header import header
from omniport.source.nodes import each_node
from omniport.source.normal import NormalForm, Origin
from omniport.source.slice import move, split_markers
from omniport.source.syntax import code as text_of
from omniport.source.transform import transform
from omniport.source.tree import SourceModule, SourceTree
from omniport.source.unmarked import unmarked, wrapped

_ROUNDS = 20
WIDTH = 120  # columns, as in the target's ruff settings


@dataclass(frozen=True)
class Normalised:
    """A normal form, and what was decided on the way: the first half of a transformer plan."""

    form: NormalForm
    classes: tuple[ClassPlan, ...]
    dropped: tuple[Decision, ...]
    parameters: tuple[str, ...]  # of the root's constructor
    forward: tuple[str, ...]  # that the root's forward keeps
    decisions: tuple[Decision, ...]


def normalise(
    tree: SourceTree,
    module: SourceModule,
    root: str,
    config: Mapping[str, object] | None = None,
    demand: Demand = NOTHING,
) -> Normalised:
    """Reduce the transformer class ``root`` to its normal form, for ``config`` and ``demand`` where they are in hand.

    Raises:
        UnsupportedError: a construct no pass understands, with its file and line.
    """
    specialised = specialise(tree, module, root, config, demand)
    body = cst.Module(list(tidy(specialised, root, demand.members, shared=demand.shared).values()))
    laid_out = _laid_out(body)
    marked = text_of(laid_out)
    text = ast.parse(marked)
    code, origins, places = split_markers(marked, text)
    imports, decisions = import_lines(tree, specialised, text)
    head = "\n".join([*header(module.text), "", *imports, "", ""]) + "\n"
    offset = head.count("\n")
    lines: list[Origin | None] = [None] * offset
    text_lines: list[str] = []
    wraps = 0  # comments that are too long
    written: dict[int, int] = {}  # line of ``code`` -> line of the form
    for number, line in enumerate(code.splitlines(), 1):
        parts = _wrapped(line)
        written[number] = len(lines) + 1
        wraps += len(parts) > 1
        text_lines += parts
        lines += [Origin(*origins[number]) if number in origins else None] * len(parts)
    classes, count = unmarked((cst.ensure_type(node, cst.ClassDef) for node in laid_out.body), WIDTH)
    cls = next(n for n in text.body if isinstance(n, ast.ClassDef) and n.name == root)
    functions = {n.name: n for n in cls.body if isinstance(n, ast.FunctionDef)}
    plain = count == wraps  # what stands within brackets and texts is wrapped in the text alone
    if plain:
        move(text, {old: written[new] for old, new in places.items()})
    return Normalised(
        form=NormalForm(
            head + "\n".join(text_lines) + "\n",
            root,
            tuple(lines),
            classes if plain else (),
            head,
            ast.Module([*ast.parse(head).body, *text.body], []) if plain else None,
        ),
        classes=specialised.plans,
        dropped=specialised.dropped,
        parameters=_names(functions["__init__"]),
        forward=_names(functions["forward"]),
        decisions=tuple(decisions),
    )


def _wrapped(line: str) -> list[str]:
    """A comment line that is too long, as several; any other line as it is."""
    text = line.lstrip()
    start = line[: len(line) - len(text)]
    return [start + part for part in wrapped(text, len(start), WIDTH)]


def _names(node: ast.FunctionDef) -> tuple[str, ...]:
    return tuple(a.arg for a in [*node.args.args, *node.args.kwonlyargs] if a.arg != "self")


#: What says the same with less, tried in turn until none of them changes a class.
_REWRITES = (
    shorten, simplify, broadcast_masks, unexpanded_masks, inline_aliases, inline_local_aliases, merge_equal_parameters,
    shorten_shapes, make_local, drop_image_inputs, drop_device_moves,
)  # fmt: skip
_ROOT_REWRITES = (shorten, simplify, inline_local_aliases, shorten_shapes, drop_device_moves)


def tidy(
    specialised: Specialised, root: str, members: frozenset[str] = frozenset(), *, shared: bool = False
) -> dict[str, cst.ClassDef]:
    """Remove what folding left without use, until nothing changes.

    ``members`` of the root are used by others, who may call every module of it if it is ``shared``.
    """
    dropped = {decision.subject for decision in specialised.dropped}
    classes = {node.name.value: node for node in specialised.classes}
    documented = transform(classes[root], DropDocstringEntries(dropped))
    assert isinstance(documented, cst.ClassDef)
    classes[root] = drop_deprecations(model_properties(config_reads(documented)))
    cache = UsageCache()
    settled: dict[str, cst.ClassDef] = {}
    alive: dict[str, tuple[cst.ClassDef, frozenset[str]]] = {}  # looked at with these attributes read elsewhere
    for _ in range(_ROUNDS):
        before = dict(classes)
        classes |= drop_unused_parameters(classes, cache.of(classes), root, dropped)
        for name in classes:
            facts = cache.of(classes)
            looked = (classes[name], facts.read_elsewhere)
            node = (
                classes[name]
                if alive.get(name) == looked
                else drop_dead_code(classes[name], facts, members if name == root else frozenset())
            )
            if node is classes[name]:
                alive[name] = looked
            if settled.get(name) is not node:
                facts = cache.of(classes | {name: node})
                for rewrite in _ROOT_REWRITES if name == root else _REWRITES:
                    short = rewrite(node, facts)
                    if short is not node:
                        break
                if short is node:
                    settled[name] = node
                node = short
            classes[name] = node
        if all(classes[name] is before[name] for name in classes):
            held = cache.members(cache.of(classes).classes[root], frozenset(classes))
            narrow = narrow_modulation(classes, root, {name: {cls for cls, _ in found} for name, found in held.items()})
            if narrow is not classes[root]:
                classes[root] = narrow
                continue
            outside = set(classes) if shared else {cls for name in members for cls, _ in held.get(name, ())}
            classes |= require_parameters(classes, cache.of(classes), root, specialised.given, outside)
            classes |= drop_given_sizes(classes, cache.of(classes), root, specialised.given)
            classes |= {root: own_entries(classes[root])}
            return {name: head_numbers(node) for name, node in classes.items()}
    raise UnsupportedError(f"{root}: tidying does not settle")


class _Layout(cst.CSTTransformer):
    """Parameter lists without comments and trailing comma, so that the formatter lays them out."""

    def leave_Parameters(self, original_node: cst.Parameters, updated_node: cst.Parameters) -> cst.Parameters:
        params = list(updated_node.params)
        if params and not updated_node.kwonly_params and updated_node.star_kwarg is None:
            params[-1] = params[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
        return updated_node.with_changes(params=params)

    def spaced(self, original_node: Any, updated_node: Any) -> Any:
        """An item of a list with a blank and nothing else behind its comma."""
        return updated_node.with_changes(comma=_COMMA) if isinstance(updated_node.comma, cst.Comma) else updated_node

    leave_Arg = leave_DictElement = leave_Element = leave_Param = leave_ParamSlash = leave_ParamStar = spaced
    leave_StarredDictElement = leave_StarredElement = leave_SubscriptElement = spaced


_COMMA = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))


def _laid_out(module: cst.Module) -> cst.Module:
    body = []
    for node in module.body:
        if isinstance(node, cst.ClassDef):
            members = []
            for member in node.body.body:
                if isinstance(member, cst.FunctionDef):
                    params, flat = transform(member.params, _Layout()), cst.SimpleWhitespace("")
                    member = tidy_leading_lines(member.with_changes(params=params, whitespace_before_params=flat))
                members.append(member)
            # the copyright notice stands at the top of the module, and what is above a class marks a copy
            lines = [line for line in node.leading_lines if line.comment is None]
            node = node.with_changes(body=node.body.with_changes(body=members), leading_lines=lines)
        body.append(node)
    return module.with_changes(body=body)


_FIXED = {
    "torch": "import torch",
    "nn": "from torch import nn",
    "F": "import torch.nn.functional as F",
    "np": "import numpy as np",
    "math": "import math",
    "Any": "from typing import Any",
}


def import_lines(tree: SourceTree, specialised: Specialised, parsed: ast.Module) -> tuple[list[str], list[Decision]]:
    """The imports that the free names of the classes in ``parsed`` need, each from where the reference defines it.

    Raises:
        UnsupportedError: a name that no module of the reference explains, or that two explain differently.
    """
    plain: set[str] = set()
    lines: dict[str, str] = {}
    decisions: list[Decision] = []
    own = {n.name for n in parsed.body if isinstance(n, ast.ClassDef)}
    for node, scopes in zip([n for n in parsed.body if isinstance(n, ast.ClassDef)], specialised.scopes, strict=True):
        for name in sorted(_free_names(node) - own):
            line = _FIXED.get(name) or _import(tree, scopes, name)
            if line is None:
                where = scopes[0].file
                raise UnsupportedError(f"{node.name} uses {name}, which no import of {where} explains", where, 0)
            if not line:
                continue
            if lines.setdefault(name, line) != line:
                raise UnsupportedError(f"{name} means two things: {lines[name]} and {line}", scopes[0].file, 0)
            plain.add(line)
    imported = {name: line.split()[1] for name, line in lines.items() if line.startswith("from diffusers")}
    decisions += wrappers(tree, parsed, imported)
    classes = [node for node in parsed.body if isinstance(node, ast.ClassDef)]
    decisions += host_tables(tree, classes[-1], imported)
    decisions += size_tables(tree, classes, imported)
    for name, line in sorted(lines.items()):
        if name in imported:
            decisions.append(
                Decision(f"import {name}", line, Why("holds no linear to shard and no attention: used as it is"))
            )
    return sorted(plain, key=lambda line: (not line.startswith("import"), line)), decisions


def _import(tree: SourceTree, scopes: tuple[SourceModule, ...], name: str) -> str | None:
    for scope in scopes:
        found = tree.resolve(scope.name, name)
        if found is not None:
            if _makes_logger(*found):
                return f"from vllm.logger import init_logger\n\n{name} = init_logger(__name__)"
            alias = "" if found[1] == name else f" as {name}"
            return f"from {found[0].name} import {found[1]}{alias}"
        if name in scope.imports:
            module, attribute = scope.imports[name]
            if attribute is None:
                return f"import {module}" + ("" if module.split(".")[0] == name else f" as {name}")
            return f"from {module} import {attribute}" + ("" if attribute == name else f" as {name}")
        if name in _conditional(scope):
            return f"from {scope.name} import {name}"
    return "" if hasattr(builtins, name) else None


def _makes_logger(module: SourceModule, name: str) -> bool:
    defined = module.definitions
    if "get_logger" not in module.text or defined.is_class(name) or defined.is_function(name):
        return False
    node = defined[name]
    return isinstance(node, ast.Assign) and "get_logger" in ast.unparse(node)


@functools.lru_cache(maxsize=500)
def _conditional(module: SourceModule) -> set[str]:
    """Names that the module binds under an ``if`` or ``try`` at its top level."""
    found: set[str] = set()
    for outer in module.definitions.conditional():
        for node in each_node(outer):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
    return found


def _free_names(node: ast.ClassDef) -> set[str]:
    free: set[str] = set()
    for member in node.body:
        nodes = list(each_node(member))
        bound = {a.arg for n in nodes if isinstance(n, ast.arguments) for a in _arguments(n)}
        bound |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        bound |= {n.name for n in nodes if isinstance(n, ast.FunctionDef)}
        loads = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        free |= loads - bound
    return free | {n.id for base in node.bases for n in each_node(base) if isinstance(n, ast.Name)}


def _arguments(node: ast.arguments) -> list[ast.arg]:
    extra = [a for a in (node.vararg, node.kwarg) if a is not None]
    return [*node.posonlyargs, *node.args, *node.kwonlyargs, *extra]
