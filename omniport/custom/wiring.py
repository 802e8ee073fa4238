"""A fusion that builds the denoisers itself becomes the pipeline's transformer.

Understood are constructors that build each denoiser from one table, ``self.video = Backbone(**video_config)``, with
methods that only call them: then the port's denoiser stands for the original's, and what vLLM-Omni's engine hands to a
transformer goes through the fusion's constructor to both.  Layers that the constructor adds to the denoisers' blocks
stay; where a name of theirs occurs in the denoiser's own code, its port may have decided that there is no such layer.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from omniport.custom.code import ClassRef, CodeTree
from omniport.custom.configs import ConfigDict, Configs
from omniport.custom.facts import dotted
from omniport.custom.submodels import SubModel
from omniport.custom.traced import Table, tables_given
from omniport.custom.transformer import CustomTransformer
from omniport.errors import UnsupportedError
from omniport.plan.custom import Candidate
from omniport.plan.model import Decision, Why
from omniport.records import dataclass

_OURS = ("od_config", "quant_config", "prefix")


@dataclass(frozen=True)
class Wiring:
    """The fusion as the transformer of a pipeline.

    ``denoisers`` are its attributes that are denoisers, ``resident`` other layers of it; ``tables`` is what each
    parameter of the constructor is given.
    """

    candidate: Candidate
    code: str
    denoisers: tuple[str, ...]
    resident: tuple[str, ...]
    tables: Mapping[str, ConfigDict]
    why: tuple[Decision, ...]

    @property
    def values(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {name: table.values for name, table in self.tables.items()}

    @property
    def expression(self) -> str:
        """The arguments in the pipeline's code."""
        return "{" + ", ".join(f"{name!r}: {table.name}" for name, table in self.tables.items()) + "}"


def wire(tree: CodeTree, fusion: SubModel, candidate: Candidate, made: CustomTransformer, configs: Configs) -> Wiring:
    """How the pipeline builds ``fusion`` of the port's denoiser.

    Args:
        tree: the repository.
        fusion: its file in the port.
        candidate: its class in the repository.
        made: the denoiser's port.
        configs: tables of the repository that fit the denoiser's constructor.

    Raises:
        UnsupportedError: it is built or used in another way; the message names the place.
    """
    from omniport.custom.wired import rewrite

    ref = ClassRef(next(f for f in tree.files if f.path == candidate.file), candidate.name)
    reader = _Reader(ref, made)
    denoisers = reader.denoisers()
    if made.native:  # else its classes are word for word, and may be used in any way
        reader.check_uses(denoisers)
    parameters = reader.parameters()
    fed = dict.fromkeys(reader.table_of(call) for call in denoisers.values())
    for name, default in parameters.items():
        if name not in fed and not default:
            raise UnsupportedError(f"{name} of the constructor is no table of a denoiser", *reader.at(reader.init))
    given = tables_given(tree, ref, tuple(parameters))
    tables = {name: _table(name, given.get(name), configs, reader) for name in fed}
    why = Why(f"{candidate.name} builds {' and '.join(denoisers)} itself", *reader.at(reader.init))
    decisions = [Decision("transformer of the pipeline", candidate.name, why)]
    decisions += [Decision(f"{candidate.name} {name}", table.name, given[name].why) for name, table in tables.items()]
    return Wiring(
        candidate=candidate,
        code=rewrite(fusion.code, candidate.name, made, tuple(denoisers)),
        denoisers=tuple(denoisers),
        resident=reader.resident(denoisers),
        tables=tables,
        why=tuple(decisions),
    )


def _table(name: str, table: Table | None, configs: Configs, reader: _Reader) -> ConfigDict:
    """The set of values that stands in ``table``.

    Raises:
        UnsupportedError: none does, or some of its values are no literals.
    """
    if table is None:
        raise UnsupportedError(f"what {name} is given is not shown", *reader.at(reader.init))
    found = [
        d for d in configs.dicts
        if all(e.file == table.file and table.first <= e.line <= table.last for e in d.entries)
    ]  # fmt: skip
    if len(found) != 1:
        raise UnsupportedError(
            f"{name}: {table.file} holds {len(found)} sets of values", table.why.file, table.why.line
        )
    open_ = (*found[0].skipped, *configs.changes)
    if open_:
        raise UnsupportedError(f"{name}: {open_[0].reason}", open_[0].file, open_[0].line)
    return found[0]


class _Reader:
    """The class of the fusion, read."""

    def __init__(self, ref: ClassRef, made: CustomTransformer) -> None:
        self._ref = ref
        self._made = made
        self._class = made.plan.class_name
        bases = [dotted(b).rpartition(".")[2] for b in ref.node.bases]
        self._methods = [m for m in ref.node.body if isinstance(m, ast.FunctionDef)]
        init = next((m for m in self._methods if m.name == "__init__"), None)
        if bases != ["Module"] or init is None:
            raise UnsupportedError(f"{ref.name} is no plain nn.Module with a constructor", *self.at(ref.node))
        self.init = init

    def at(self, node: ast.AST) -> tuple[str, int]:
        return self._ref.file.path, getattr(node, "lineno", 0)

    def parameters(self) -> dict[str, bool]:
        """Parameters of the constructor, and whether each has a default."""
        args = self.init.args
        if args.vararg or args.kwarg or args.posonlyargs:
            raise UnsupportedError("a constructor with arguments of any name", *self.at(self.init))
        plain = args.args[1:]
        found = {a.arg: i >= len(plain) - len(args.defaults) for i, a in enumerate(plain)}
        found |= {a.arg: d is not None for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True)}
        if taken := [name for name in _OURS if name in found]:
            raise UnsupportedError(f"a constructor with a parameter {taken[0]}", *self.at(self.init))
        return found

    def denoisers(self) -> dict[str, ast.Call]:
        """Attribute -> the call that builds it, of every call of the denoiser's class."""
        found: dict[str, ast.Call] = {}
        for statement in self.init.body:
            if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
                target, value = statement.targets[0], statement.value
                if _of_self(target) and isinstance(value, ast.Call) and self._builds(value):
                    assert isinstance(target, ast.Attribute)
                    found[target.attr] = value
        calls = [n for n in ast.walk(self._ref.file.tree) if isinstance(n, ast.Call) and self._builds(n)]
        for call in calls:
            if call not in found.values():
                raise UnsupportedError(f"{ast.unparse(call)[:60]} is no line of its own", *self.at(call))
        if not found:
            raise UnsupportedError(f"the denoisers are given to {self._ref.name}", *self.at(self.init))
        return found

    def _builds(self, call: ast.Call) -> bool:
        return isinstance(call.func, ast.Name) and call.func.id == self._class

    def table_of(self, call: ast.Call) -> str:
        """The parameter that a denoiser is built from; it may be read, and nothing else, elsewhere."""
        starred = [k.value for k in call.keywords if k.arg is None]
        if call.args or len(call.keywords) != 1 or len(starred) != 1 or not isinstance(starred[0], ast.Name):
            raise UnsupportedError(f"{ast.unparse(call)[:60]} is not built from one table", *self.at(call))
        name = starred[0].id
        allowed = {id(n.value) for n in ast.walk(self.init) if isinstance(n, ast.keyword) and n.arg is None}
        allowed |= {
            id(n.value) for n in ast.walk(self.init) if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Load)
        }
        for node in ast.walk(self.init):
            if isinstance(node, ast.Name) and node.id == name and id(node) not in allowed:
                raise UnsupportedError(f"{name} is more than the table of a denoiser", *self.at(node))
        return name

    def check_uses(self, denoisers: Mapping[str, ast.Call]) -> None:
        """The constructor adds what the denoiser does not know, and other methods only call the denoisers.

        Raises:
            UnsupportedError: a use that the port's denoiser may answer in another way.
        """
        for method in self._methods:
            called = {id(n.func): n for n in ast.walk(method) if isinstance(n, ast.Call)}
            for node in ast.walk(method):
                if not (_of_self(node) and isinstance(node, ast.Attribute) and node.attr in denoisers):
                    continue
                if method is self.init:
                    continue  # what is reached through them is checked below
                if id(node) not in called:
                    raise UnsupportedError(f"{method.name} reaches into {node.attr}", *self.at(node))
                self._check_call(called[id(node)])
        has, said = self._own_names()
        for node in self._reached(denoisers):
            if isinstance(node.ctx, ast.Load) and node.attr not in has:
                raise UnsupportedError(f"the constructor reads .{node.attr}, which the port has not", *self.at(node))
            if not isinstance(node.ctx, ast.Load) and node.attr in said:
                raise UnsupportedError(f"the constructor sets .{node.attr}, which the denoiser knows", *self.at(node))

    def _check_call(self, call: ast.Call) -> None:
        """Arguments mean the same parameters in the port's forward."""
        ours = self._made.plan.forward
        theirs = self._made.taken()
        names = [*theirs[: len(call.args)], *(k.arg or "**" for k in call.keywords)]
        starred = any(isinstance(a, ast.Starred) for a in call.args)
        if starred or len(call.args) > len(theirs) or ours[: len(call.args)] != theirs[: len(call.args)]:
            raise UnsupportedError(f"{ast.unparse(call)[:60]} gives the port other arguments", *self.at(call))
        if missing := [name for name in names if name not in ours]:
            raise UnsupportedError(f"the port's forward does not take {missing[0]}", *self.at(call))

    def _own_names(self) -> tuple[set[str], set[str]]:
        """Attributes that the port's classes have, and every name that occurs in the denoiser's code or its port."""
        has: set[str] = set()
        for node in ast.walk(ast.parse(self._made.code)):
            if isinstance(node, ast.FunctionDef):
                has.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _of_self(node):
                has.add(node.attr)
        said = set(has)
        for node in ast.walk(ast.parse(self._made.source)):
            if isinstance(node, ast.Attribute):
                said.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                said.add(node.value)  # hasattr(block, "k_fusion")
        return has, said

    def _reached(self, denoisers: Mapping[str, ast.Call]) -> Iterator[ast.Attribute]:
        """Attributes of anything but the fusion itself and modules, in the constructor."""
        local = {n.id for n in ast.walk(self.init) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        for node in ast.walk(self.init):
            if isinstance(node, ast.Attribute) and not _of_self(node):
                root = dotted(node).split(".")
                if not root[0] or root[0] in local or (root[0] == "self" and root[1] in denoisers):
                    yield node

    def resident(self, denoisers: Mapping[str, ast.Call]) -> tuple[str, ...]:
        """Layers of the fusion that are no denoiser.

        Raises:
            UnsupportedError: it holds a parameter outside of any layer, which no mover of layers would find.
        """
        found = []
        for node in ast.walk(self.init):
            target = node.targets[0] if isinstance(node, ast.Assign) else None
            if not isinstance(node, ast.Assign) or not isinstance(target, ast.Attribute) or not _of_self(target):
                continue
            built = {dotted(n.func) for n in ast.walk(node.value) if isinstance(n, ast.Call)}
            if "nn.Parameter" in built or "torch.nn.Parameter" in built:
                raise UnsupportedError(f"{target.attr} is a parameter outside of any layer", *self.at(node))
            layers = {b for b in built if b.startswith(("nn.", "torch.nn.")) or b.rpartition(".")[2][:1].isupper()}
            if target.attr not in denoisers and layers:
                found.append(target.attr)
        return tuple(dict.fromkeys(found))


def _of_self(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
