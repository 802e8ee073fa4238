"""What a function of a repository that calls an attention kernel means: which tensors, which layout, which masks.

The function is followed with values that stand for its query, key and value.  Casts, asserts and warnings say nothing
about the result; branches on what is installed must all mean the same.  Whatever else is met has no meaning here.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace

from omniport.records import dataclass

#: kernel -> how its tensors lie: tokens before heads, heads before tokens, or the samples packed into one run
KERNELS: dict[str, str] = {
    "scaled_dot_product_attention": "heads",
    "flash_attn_func": "tokens",
    "flash_attn_varlen_func": "packed",
}
#: arguments of the kernels -> the value with which plain attention is meant; ``...``: any value means the same
NEUTRAL: dict[str, object] = {
    "dropout_p": 0.0,
    "softmax_scale": None,
    "scale": None,
    "causal": False,
    "is_causal": False,
    "attn_mask": None,
    "window_size": (-1, -1),
    "seqused_q": None,
    "seqused_k": None,
    "deterministic": ...,
}
_MAXIMA = frozenset({"max_seqlen_q", "max_seqlen_k"})
_CASTS = frozenset({"to", "type", "contiguous", "type_as"})
_WARNS = frozenset({"warnings.warn", "logger.warning", "logger.warning_once", "print"})


@dataclass(frozen=True)
class Meaning:
    """Plain attention over the parameters ``query``, ``key``, ``value`` as they are given to the function.

    ``neutral`` are other parameters and the value each must have, ``...`` for any; ``key_lengths`` is the parameter
    that holds how many keys of each sample are real, None where all are.  ``cast`` tells that queries and keys are
    brought to the dtype of the values.
    """

    query: str
    key: str
    value: str
    heads_first: bool
    key_lengths: str | None
    neutral: tuple[tuple[str, object], ...]
    cast: bool


@dataclass(frozen=True)
class _Tensor:
    """One of query, key, value and ``out``: as given, with tokens and heads turned, or packed."""

    of: str
    layout: str = "given"
    lengths: str | None = None  # the parameter that its samples were cut to
    cast: bool = False  # to the dtype of the values
    pair: bool = False  # the kernel gives the logarithms of the sums, too


@dataclass(frozen=True)
class _Lengths:
    """Lengths of each sample: a parameter's, or all of them whole where that is None."""

    parameter: str | None


@dataclass(frozen=True)
class _Known:
    value: object


@dataclass(frozen=True)
class _Given:
    """A parameter that the call gives, other than query, key and value."""

    name: str


_ANY = _Known(...)  # sizes, dtypes, flags: nothing that the result would depend on


class _NoMeaning(Exception):
    """Something was met that this module does not know."""


def meaning(function: ast.FunctionDef, given: frozenset[str]) -> Meaning | None:
    """What a call means that gives the parameters ``given``; None where it is not known."""
    try:
        return _Follower(function, given).run()
    except _NoMeaning:
        return None


class _Follower:
    def __init__(self, function: ast.FunctionDef, given: frozenset[str]) -> None:
        self.function, self.given = function, given
        self.neutral: dict[str, object] = {}
        self.casts: set[str] = set()  # nested functions that only cast
        self.meaning: Meaning | None = None

    def run(self) -> Meaning:
        args = self.function.args
        names = [a.arg for a in (*args.args, *args.kwonlyargs)]
        if args.vararg or args.kwarg or args.posonlyargs or len(names) < 3:
            raise _NoMeaning
        defaults = dict(zip(reversed([a.arg for a in args.args]), reversed(args.defaults), strict=False))
        defaults |= {a.arg: d for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True) if d is not None}
        env: dict[str, object] = {n: _Tensor(n) for n in names[:3]}
        for name in names[3:]:
            env[name] = _Given(name) if name in self.given else _literal(defaults.get(name))
        self.tensors = names[:3]
        if self.block(self.function.body, env) != _Tensor("out") or self.meaning is None:
            raise _NoMeaning
        rest = dict.fromkeys(self.given - set(self.tensors) - set(self.neutral) - {self.meaning.key_lengths}, ...)
        return replace(self.meaning, neutral=tuple(sorted((self.neutral | rest).items(), key=lambda i: i[0])))

    def block(self, body: Sequence[ast.stmt], env: dict[str, object]) -> object:
        """The value that ``body`` returns; None where it ends without."""
        for index, statement in enumerate(body):
            if isinstance(statement, ast.If):
                return self.branch(statement, body[index + 1 :], env)
            if isinstance(statement, ast.Return):
                return self.value(statement.value, env) if statement.value is not None else None
            self.statement(statement, env)
        return None

    def branch(self, node: ast.If, rest: Sequence[ast.stmt], env: dict[str, object]) -> object:
        known = self.condition(node.test, env)
        ways = [body for body, kept in ((node.body, True), (node.orelse, False)) if known in (kept, None)]
        if known is None:
            self.settled(node.test, env)
        results = set()
        for way in ways:
            if not (way and isinstance(way[-1], ast.Raise)):
                results.add(self.block([*way, *rest], dict(env)))
        if len(results) != 1:
            raise _NoMeaning
        return results.pop()

    def condition(self, test: ast.expr, env: dict[str, object]) -> bool | None:
        if (
            isinstance(test, ast.Compare)
            and isinstance(test.left, ast.Name)
            and isinstance(test.ops[0], ast.Is | ast.IsNot)
            and isinstance(test.comparators[0], ast.Constant)
            and test.comparators[0].value is None
        ):
            value = env.get(test.left.id)
            absent = isinstance(value, _Known) and value.value is None
            if absent or isinstance(value, _Tensor | _Lengths):
                return absent == isinstance(test.ops[0], ast.Is)
            if isinstance(value, _Given):  # a call that gives None is none of those that are rewritten
                return isinstance(test.ops[0], ast.IsNot)
        if isinstance(test, ast.BoolOp):
            parts = [self.condition(v, env) for v in test.values]
            stops = isinstance(test.op, ast.Or)
            return stops if stops in parts else (None if None in parts else not stops)
        return None

    def settled(self, test: ast.expr, env: dict[str, object]) -> None:
        """A condition that both ways of are followed may not ask for the tensors' values."""
        for node in ast.walk(test):
            if isinstance(node, ast.Name) and isinstance(env.get(node.id), _Tensor | _Lengths):
                raise _NoMeaning

    def statement(self, node: ast.stmt, env: dict[str, object]) -> None:
        if isinstance(node, ast.Assert | ast.Pass | ast.Import | ast.ImportFrom):
            return
        if isinstance(node, ast.Expr):
            text = ast.unparse(node.value.func) if isinstance(node.value, ast.Call) else ""
            if isinstance(node.value, ast.Constant) or text in _WARNS:
                return
        if isinstance(node, ast.FunctionDef) and _casts(node):
            self.casts.add(node.name)
            return
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if isinstance(target, ast.Name):
                env[target.id] = self.value(node.value, env)
                return
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                values = [self.value(v, env) for v in node.value.elts]
                if len(values) == len(target.elts) and all(isinstance(t, ast.Name) for t in target.elts):
                    env.update(zip((t.id for t in target.elts if isinstance(t, ast.Name)), values, strict=True))
                    return
        raise _NoMeaning

    def value(self, node: ast.expr, env: dict[str, object]) -> object:
        if isinstance(node, ast.Name):
            return env.get(node.id, _ANY)
        if isinstance(node, ast.Constant):
            return _Known(node.value)
        if isinstance(node, ast.Call):
            return self.call(node, env)
        if isinstance(node, ast.Subscript):
            inner = self.value(node.value, env)
            if isinstance(inner, _Tensor) and inner.pair and ast.unparse(node.slice) == "0":
                return replace(inner, pair=False)
            if not isinstance(inner, _Tensor | _Lengths | _Given):
                return _ANY
        if isinstance(node, ast.Attribute) and node.attr in ("dtype", "device", "shape"):
            return _ANY
        if isinstance(node, ast.BinOp | ast.Tuple | ast.List | ast.UnaryOp):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Name) and isinstance(env.get(inner.id), _Tensor):
                    raise _NoMeaning
            return _ANY
        raise _NoMeaning

    def call(self, node: ast.Call, env: dict[str, object]) -> object:
        name = ast.unparse(node.func)
        short = name.rpartition(".")[2]
        if short in KERNELS:
            return self.kernel(node, KERNELS[short], name, env)
        if name in self.casts and len(node.args) == 1:
            return self.value(node.args[0], env)
        if name == "torch.tensor":  # [length] * samples
            return _Lengths(None)
        if name == "torch.cat" and isinstance(node.args[0], ast.ListComp):
            return self.packed(node.args[0], env)
        if isinstance(node.func, ast.Attribute):
            owner = self.value(node.func.value, env)
            if isinstance(owner, _Tensor):
                return self.method(owner, short, node, env)
            if isinstance(owner, _Lengths | _Given):
                return owner
        raise _NoMeaning

    def method(self, owner: _Tensor, name: str, node: ast.Call, env: dict[str, object]) -> object:
        arguments = [ast.unparse(a) for a in node.args]
        turned = {"given": "turned", "turned": "given"}
        if name == "size":
            return _ANY
        if name in _CASTS and not owner.pair:
            to_values = name == "to" and arguments == [f"{self.tensors[2]}.dtype"]
            return replace(owner, cast=owner.cast or to_values)
        if name == "transpose" and sorted(arguments) == ["1", "2"] and owner.layout in turned:
            return replace(owner, layout=turned[owner.layout])
        if name == "flatten" and arguments == ["0", "1"] and owner.layout == "given" and owner.of != "out":
            return replace(owner, layout="packed")
        if name == "unflatten" and arguments[:1] == ["0"] and owner.layout == "packed" and not owner.pair:
            return replace(owner, layout="given")
        raise _NoMeaning

    def packed(self, node: ast.ListComp, env: dict[str, object]) -> object:
        """``[u[:v] for u, v in zip(k, k_lens)]``: each sample cut to its length."""
        loop = node.generators[0]
        if not (len(node.generators) == 1 and isinstance(loop.iter, ast.Call) and ast.unparse(loop.iter.func) == "zip"):
            raise _NoMeaning
        one, two = (self.value(a, env) for a in loop.iter.args)
        plain = isinstance(loop.target, ast.Tuple) and len(loop.target.elts) == 2 and not loop.ifs
        if not plain or not isinstance(one, _Tensor) or not isinstance(two, _Given) or one.layout != "given":
            raise _NoMeaning
        assert isinstance(loop.target, ast.Tuple)
        u, v = (ast.unparse(t) for t in loop.target.elts)
        if ast.unparse(node.elt) != f"{u}[:{v}]":
            raise _NoMeaning
        return replace(one, layout="packed", lengths=two.name)

    def kernel(self, node: ast.Call, form: str, name: str, env: dict[str, object]) -> _Tensor:
        named = {k.arg: k.value for k in node.keywords if k.arg is not None}
        order: list[ast.expr | None] = [*node.args[:3]]
        order = order or [named.pop(n) if n in named else named.pop(w) if w in named else None for n, w in _OPERANDS]
        q, k, v = (self.value(a, env) if a is not None else None for a in order)
        if not all(isinstance(t, _Tensor) and t.of == n for t, n in zip((q, k, v), self.tensors, strict=True)):
            raise _NoMeaning
        assert isinstance(q, _Tensor) and isinstance(k, _Tensor) and isinstance(v, _Tensor)
        wanted = {"heads": ("given", "turned"), "tokens": ("given",), "packed": ("packed",)}[form]
        if not q.layout == k.layout == v.layout or q.layout not in wanted or len(node.args) > 3:
            raise _NoMeaning
        lengths = {}
        for argument, value in named.items():
            if argument in ("cu_seqlens_q", "cu_seqlens_k"):
                lengths[argument[-1]] = self.lengths(value, env)
            elif argument not in _MAXIMA:
                self.must_be(argument, value, env)
        if form == "packed" and lengths != {"q": _Lengths(q.lengths), "k": _Lengths(k.lengths)}:
            raise _NoMeaning
        if q.lengths is not None or k.lengths != v.lengths:
            raise _NoMeaning
        heads_first = form == "heads" and q.layout == "given"
        here = Meaning(self.tensors[0], self.tensors[1], self.tensors[2], heads_first, k.lengths, (), q.cast and k.cast)
        if self.meaning not in (None, here):
            raise _NoMeaning
        self.meaning = here
        return _Tensor("out", q.layout, pair=name.startswith("flash_attn_interface."))

    def lengths(self, node: ast.expr, env: dict[str, object]) -> _Lengths:
        """What the running sums of lengths were made from."""
        found = {env[n.id] for n in ast.walk(node) if isinstance(n, ast.Name) and n.id in env}
        made = {_Lengths(f.name) if isinstance(f, _Given) else f for f in found if isinstance(f, _Given | _Lengths)}
        if len(made) != 1 or "cumsum" not in ast.unparse(node):
            raise _NoMeaning
        lengths = made.pop()
        assert isinstance(lengths, _Lengths)
        return lengths

    def must_be(self, argument: str, node: ast.expr, env: dict[str, object]) -> None:
        """An argument of the kernel that is no tensor: neutral, or a parameter that must be."""
        if argument not in NEUTRAL:
            raise _NoMeaning
        value = _literal(node) if not isinstance(node, ast.Name) else self.value(node, env)
        if isinstance(value, _Given):
            self.neutral[value.name] = NEUTRAL[argument]
        elif NEUTRAL[argument] is not ... and value != _Known(NEUTRAL[argument]):
            raise _NoMeaning


_OPERANDS = (("q", "query"), ("k", "key"), ("v", "value"))


def _literal(node: ast.expr | None) -> object:
    try:
        value = ast.literal_eval(node) if node is not None else ...
    except ValueError:
        return _ANY
    return _Known(value) if isinstance(value, int | float | str | tuple | None) else _ANY


def _casts(node: ast.FunctionDef) -> bool:
    """``return x if ... else x.to(dtype)`` of the one parameter."""
    body = node.body[0]
    if len(node.body) != 1 or not isinstance(body, ast.Return) or len(node.args.args) != 1 or body.value is None:
        return False
    name = node.args.args[0].arg
    ways = [body.value.body, body.value.orelse] if isinstance(body.value, ast.IfExp) else [body.value]
    texts = [
        w.func if isinstance(w, ast.Call) and ast.unparse(w.func) in (f"{name}.to", f"{name}.type") else w for w in ways
    ]
    return all(ast.unparse(t) in (name, f"{name}.to", f"{name}.type") for t in texts)
