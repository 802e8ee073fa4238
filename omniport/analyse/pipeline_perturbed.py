"""Perturbed attention guidance: a third prediction, in which some blocks attend in another way.

diffusers' mixin exchanges the processors of those blocks for ones that cut the batch into its sides and compute the
last one otherwise.  In the port the third side is a call of its own, which names the blocks.  What such a processor
does to that side is read off its source; it is one of two things that the transformer's rewrite knows.
"""

from __future__ import annotations

import ast
import hashlib
import re
from typing import Literal

from omniport.analyse import pipeline_reading as reading
from omniport.errors import UnsupportedError
from omniport.records import dataclass
from omniport.source.nodes import each_node, methods
from omniport.source.tree import SourceModule, SourceTree

MIXIN = "PAGMixin"
LAYERS = "pag_applied_layers"  # parameter of the constructor: patterns of names of attention layers

#: What the rule was made for: how layers are found by name, what is joined, cut and combined.  Digest of these methods.
_METHODS = (
    "_set_pag_attn_processor",
    "_get_pag_scale",
    "_apply_perturbed_attention_guidance",
    "_prepare_perturbed_attention_guidance",
    "do_pag_adaptive_scaling",
    "do_perturbed_attention_guidance",
)
_KNOWN = "be78773720d902c8"

#: The parts put together again, each of them a name of its own.
_ALL_PARTS = re.compile(r"torch\.cat\(\[(\w+)_\w+, \1_\w+\]\)\Z")

Kind = Literal["value", "context"]

#: Norms of query and key, and the parameter of a denoiser by which shared attention takes them.
_NORMS, _NORMED = ("norm_q", "norm_k"), "qk_norm"


@dataclass(frozen=True)
class Perturbation:
    """``layers``: the default patterns, as source.

    ``kind``: a token of a perturbed layer keeps its own ``value``, or attends to itself and the ``context`` (the text),
    which attends to all.  ``without``: parameters of the denoiser that the exchanged processors take no notice of.
    """

    layers: str
    kind: Kind
    without: tuple[str, ...]
    line: int


def perturbation(
    source: SourceTree, module: SourceModule, node: ast.ClassDef, denoiser: ast.ClassDef
) -> Perturbation | None:
    """How pipeline class ``node`` of ``module`` perturbs attention of its ``denoiser``; None if it does not.

    Raises:
        UnsupportedError: it does so in a way that no rule covers.
    """
    if MIXIN not in map(reading.dotted, node.bases):
        return None
    place = module.file, node.lineno
    mixin = source.resolve(module.name, MIXIN)
    if mixin is None or _digest(own := methods(mixin[0].class_def(mixin[1]))) != _KNOWN:
        raise UnsupportedError(f"{MIXIN} guides in another way than the one that is known", *place)
    init = methods(node)["__init__"]
    default = next((d for a, d in reading.parameters(init, module.file) if a.arg == LAYERS), None)
    calls = [
        n
        for n in each_node(init)
        if isinstance(n, ast.Call) and reading.dotted(n.func) == "self.set_pag_applied_layers"
    ]
    if default is None or len(calls) != 1:
        raise UnsupportedError(f"the constructor does not say which layers are perturbed by {LAYERS}", *place)
    given = next((k.value for k in calls[0].keywords if k.arg == "pag_attn_processors"), None)
    where = module
    if given is None:
        where, setter = mixin[0], own["set_pag_applied_layers"]
        given = {a.arg: d for a, d in reading.parameters(setter, where.file)}.get("pag_attn_processors")
    names = (
        [reading.dotted(e.func) for e in given.elts if isinstance(e, ast.Call)] if isinstance(given, ast.Tuple) else []
    )
    found = [target for name in names if (target := source.resolve(where.name, name or "")) is not None]
    if len(found) != 2:
        raise UnsupportedError("the attention processors of perturbed layers are not known", *place)
    parts = [_perturbed(*target) for target in found]
    if parts[0] != parts[1]:
        raise UnsupportedError(f"{names[0]} and {names[1]} perturb in different ways", *place)
    plain = not any(f"attn.{norm}" in ast.unparse(t[0].class_def(t[1])) for t in found for norm in _NORMS)
    parameters = {a.arg for a, _ in reading.parameters(methods(denoiser)["__init__"], module.file, stars=True)}
    return Perturbation(
        ast.unparse(default), parts[0], (_NORMED,) if plain and _NORMED in parameters else (), calls[0].lineno
    )


def _digest(own: dict[str, ast.FunctionDef]) -> str:
    """Of the statements of the methods, docstrings and layout aside."""
    bodies = [own[name].body if name in own else [] for name in _METHODS]
    text = ";".join(ast.unparse(s) for body in bodies for s in body if not _is_text(s))
    return hashlib.sha256(re.sub(r"[\s()\"']", "", text).encode()).hexdigest()[:16]


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _perturbed(module: SourceModule, name: str) -> Kind:
    """What a processor does to the last part that it cuts its input into.

    Raises:
        UnsupportedError: neither of what is known.
    """
    node = module.class_def(name)
    call = methods(node)["__call__"]
    held: set[str] = set()  # names that hold the perturbed part
    path: list[ast.stmt] = []
    for statement in call.body:
        names = {n.id for n in each_node(statement) if isinstance(n, ast.Name)}
        last = _last_part(statement)
        if last is not None:
            held.add(last)
        elif held & names and not _ALL_PARTS.search(ast.unparse(statement)):
            path.append(statement)
            if isinstance(statement, ast.Assign):
                held |= {n.id for t in statement.targets for n in each_node(t) if isinstance(n, ast.Name)}
    text = "\n".join(ast.unparse(s) for s in path if not _aside(s))
    used = re.findall(r"\battn\.(to_\w+|add_\w+)", text)
    attends = re.findall(r"scaled_dot_product_attention\(", text)
    if used == ["to_v", "to_out", "to_out"] and not attends and "torch." not in text and "F." not in text:
        return "value"
    whole = "\n".join(map(ast.unparse, call.body))
    size = re.search(r"(?m)^(\w+) = hidden_states\.shape\[1\]$", whole)
    mask = re.search(r"attn_mask=(\w+)", text)
    if len(attends) == 1 and size is not None and mask is not None and sorted(used) == sorted(_JOINT):
        block = rf"{mask[1]}\[:{size[1]}, :{size[1]}\]"
        alone = rf"(?s)^{mask[1]} = torch\.zeros.*^{block} = float\('-inf'\)$.*^{block}\.fill_diagonal_\(0\)$"
        joined = re.findall(r"torch\.cat\(\[\w+, (\w+?_)\w+\], dim=1\)", text)
        if re.search(alone, text, re.M) and joined == ["encoder_"] * 3 and text.count("torch.cat(") == 3:
            return "context"
    raise UnsupportedError(f"{name} perturbs attention in a way that is not known", module.file, node.lineno)


#: Layers of attention over two streams that the perturbed part goes through.
_JOINT = ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj", "to_out", "to_out", "to_add_out")


def _last_part(node: ast.stmt) -> str | None:
    """``c`` of ``a, b, c = x.chunk(3)``."""
    if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Tuple):
        return None
    value = node.value
    if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Attribute) or value.func.attr != "chunk":
        return None
    return reading.dotted(node.targets[0].elts[-1])


def _aside(node: ast.stmt) -> bool:
    """A branch for pictures in place of tokens, or for a norm over groups, which no transformer has."""
    return (
        isinstance(node, ast.If)
        and re.match(r"(\w*input_ndim == 4|attn\.group_norm is not None)\Z", ast.unparse(node.test)) is not None
    )


def with_parameter(call: ast.FunctionDef, name: str, default: str) -> ast.FunctionDef:
    """The call with one more parameter, which the reference takes at construction."""
    made = ast.parse(f"def _({name}: str | list[str] = {default}): pass").body[0]
    assert isinstance(made, ast.FunctionDef)
    (argument,) = made.args.args
    argument.lineno = call.lineno
    own = call.args
    args = ast.arguments(
        posonlyargs=own.posonlyargs,
        args=[*own.args, argument],
        vararg=own.vararg,
        kwonlyargs=own.kwonlyargs,
        kw_defaults=own.kw_defaults,
        kwarg=own.kwarg,
        defaults=[*own.defaults, *made.args.defaults],
    )
    kept = {n: getattr(call, n) for n in ("name", "body", "decorator_list", "returns", "type_comment")}
    return ast.copy_location(ast.FunctionDef(args=args, **kept), call)
