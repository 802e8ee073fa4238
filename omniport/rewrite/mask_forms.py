"""What expressions make of a mask, and the same in the form of every backend: boolean, ``[batch, keys]``.

``mask[:, None, None, :]`` and its like give axes for heads and queries, which backends add themselves;
``(1 - mask) * -10000.0`` makes a bias, and one of -10000 leaves nothing of a key in any precision.

A mask over pairs of kept tokens, ``keys & keys.transpose(2, 3)``, is one over keys for a layer that gives the others
zeros (:mod:`omniport.rewrite.padded_attention`).  One that keeps a key for all, as HunyuanVideo's refiner does, is not:
where padding does not stand at the end, HunyuanVideo's blocks read what the refiner makes of padded tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import libcst as cst

from omniport.records import dataclass
from omniport.rewrite.syntax import code, dotted

#: A variable of a class's forward.
Place = tuple[str, str]


@dataclass(frozen=True)
class Mask:
    """A mask: its axes (0: not known), whether it is boolean or a bias, and the variables that it came through."""

    axes: int
    boolean: bool = False
    bias: bool = False
    places: frozenset[Place] = frozenset()
    by_length: str = ""  # made of zeros and filled as far as each sample's tokens go: "whole", or a "part" of the keys
    repeated: str = ""  # half of a mask over pairs: one over "keys" repeated for each query, or over "queries"
    pairs: bool = False  # over pairs of kept tokens: a query that is no key gets nothing
    alias: str = ""  # the variable holds what this other one does, and goes

    @property
    def over_keys(self) -> bool:
        """Whether every backend takes it, once it has two axes."""
        return bool(self.axes) and (self.boolean or self.bias) and not self.repeated and self.by_length != "part"

    @property
    def changes(self) -> bool:
        """Whether it is another tensor in the form of every backend."""
        return self.axes > 2 or self.bias

    def joined(self, other: Mask) -> Mask | None:
        """What is known of a variable that may hold either; None if they are of different forms."""
        if (self.changes or other.changes) and (self.form != other.form):
            return None
        axes = self.axes if self.axes == other.axes else 0
        return replace(self, axes=axes, boolean=self.boolean and other.boolean, places=self.places | other.places)

    @property
    def form(self) -> tuple[int, bool, bool, str, bool]:
        return self.axes, self.boolean, self.bias, self.repeated, self.pairs


class UnknownMask(Exception):
    """An expression that is not followed."""


_BOOL = frozenset({"torch.bool", "bool"})
_PAD = frozenset({"F.pad", "nn.functional.pad"})
_MADE = frozenset({"torch.ones", "torch.zeros", "torch.full"})


def lowered(node: cst.BaseExpression, env: Mapping[str, Mask]) -> tuple[Mask, str]:
    """The mask that an expression is, and the source of the same in the form of every backend.

    Args:
        node: an expression.
        env: the masks that variables hold.

    Raises:
        UnknownMask: it is none that is followed.
    """
    if isinstance(node, cst.Name):
        if node.value not in env:
            raise UnknownMask
        return env[node.value], env[node.value].alias or node.value
    if isinstance(node, cst.Subscript):
        return _subscript(node, env)
    if isinstance(node, cst.BinaryOperation):
        return _pairs(node, env) if isinstance(node.operator, cst.BitAnd) else _bias(node, env)
    if isinstance(node, cst.Call):
        return _call(node, env)
    if isinstance(node, cst.IfExp) and code(node.orelse) == "None":
        mask, text = lowered(node.body, env)
        return mask, f"{text} if {code(node.test)} else None"
    raise UnknownMask


def _subscript(node: cst.Subscript, env: Mapping[str, Mask]) -> tuple[Mask, str]:
    mask, text = lowered(node.value, env)
    places = ["".join(code(element.slice).split()) for element in node.slice]
    if places in ([":", "None", "None", ":"], [":", "None", "None"]) and mask.axes in (0, 2):
        return replace(mask, axes=4), text
    if len(places) == (mask.axes or 2) and all(place == ":" for place in places[:-1]):  # a run of the keys
        return replace(mask, axes=mask.axes or 2), f"{text}[:, {code(node.slice[-1].slice)}]"
    raise UnknownMask


def _pairs(node: cst.BinaryOperation, env: Mapping[str, Mask]) -> tuple[Mask, str]:
    """``keys & keys.transpose(2, 3)``"""
    (one, text), (other, same) = lowered(node.left, env), lowered(node.right, env)
    if {one.repeated, other.repeated} != {"keys", "queries"} or text != same or not (one.boolean and other.boolean):
        raise UnknownMask
    return replace(one, repeated="", pairs=True, places=one.places | other.places), text


def _bias(node: cst.BinaryOperation, env: Mapping[str, Mask]) -> tuple[Mask, str]:
    """``(1 - mask.to(dtype)) * -10000.0``"""
    kept = node.left
    if not isinstance(node.operator, cst.Multiply) or code(node.right) not in ("-10000.0", "-10000"):
        raise UnknownMask
    if not isinstance(kept, cst.BinaryOperation) or not isinstance(kept.operator, cst.Subtract):
        raise UnknownMask
    if code(kept.left).strip("(") not in ("1", "1.0"):
        raise UnknownMask
    inner = kept.right
    if isinstance(inner, cst.Call) and dotted(inner.func).endswith(".to") and isinstance(inner.func, cst.Attribute):
        inner = inner.func.value
    mask, text = lowered(inner, env)
    if mask.bias:
        raise UnknownMask
    return replace(mask, bias=True), text if mask.boolean else f"{text}.bool()"


def _call(node: cst.Call, env: Mapping[str, Mask]) -> tuple[Mask, str]:
    name = dotted(node.func)
    words = {a.keyword.value: code(a.value) for a in node.args if a.keyword is not None}
    given = [a.value for a in node.args if a.keyword is None]
    if name in _MADE and (words.get("dtype") in _BOOL or name == "torch.zeros"):
        return Mask(
            _length(given), boolean=words.get("dtype") in _BOOL, by_length="whole" if name == "torch.zeros" else ""
        ), code(node)
    if name == "torch.cat" and given:
        return _cat(node, given[0], words.get("dim", code(given[1]) if len(given) > 1 else "0"), env)
    if name in _PAD and len(given) == 2 and words.get("value", "0") in ("True", "False", "0", "1"):
        mask, text = lowered(given[0], env)
        if mask.bias or not isinstance(given[1], cst.Tuple) or len(given[1].elements) != 2:
            raise UnknownMask
        boolean = mask.boolean or "value" in words and words["value"] in ("True", "False")
        made = node.with_changes(args=(node.args[0].with_changes(value=_parsed(text)), *node.args[1:]))
        return replace(mask, boolean=boolean), code(made)
    if name == "rank_order" and len(given) == 2:
        mask, text = lowered(given[0], env)
        dim = int(words.get("dim", "-1"))
        if not mask.axes and dim != -1:
            raise UnknownMask
        keys = dim in (-1, mask.axes - 1)
        return mask, f"rank_order({text}, {code(given[1])})" if keys else text  # the other axes have one entry
    if (name == "gather_keys" or name.startswith("self.split_")) and len(given) == 1:  # of the port's own making
        mask, text = lowered(given[0], env)
        return mask, f"{name}({text})"
    if not isinstance(node.func, cst.Attribute):
        raise UnknownMask
    if node.func.attr.value in ("new_zeros", "new_ones") and words.get("dtype") in _BOOL:
        return Mask(_length(given), boolean=True), code(node)
    mask, text = lowered(node.func.value, env)
    return _method(node, node.func.attr.value, [code(a) for a in given], words, mask, text)


def _method(
    node: cst.Call, name: str, given: list[str], words: Mapping[str, str], mask: Mask, text: str
) -> tuple[Mask, str]:
    args = code(node.with_changes(func=cst.Name("_")))[1:]
    if name == "bool" or (name == "to" and (words.get("dtype") in _BOOL or (given[:1] and given[0] in _BOOL))):
        if mask.bias:
            raise UnknownMask
        return replace(mask, boolean=True), text if mask.boolean and name == "bool" else f"{text}.{name}{args}"
    moved = name == "to" and words.keys() <= {"device"} and all(part.endswith(".device") for part in given)
    if moved or name == "contiguous":
        return mask, f"{text}.{name}{args}"
    if name in ("new_ones", "new_zeros") and not mask.changes and not words:
        return Mask(_length([_parsed(size) for size in given]), mask.boolean), code(node)
    if name == "repeat" and given[:2] == ["1", "1"] and given[3:] == ["1"] and mask.axes == 4:
        return replace(mask, repeated="keys"), text
    if name == "transpose" and sorted(given) == ["2", "3"] and mask.repeated:
        return replace(mask, repeated="queries" if mask.repeated == "keys" else "keys"), text
    if name == "masked_fill" and given[1:] in (["False"], ["True"]) and not mask.changes:
        return replace(mask, boolean=True), code(node)
    if name == "unsqueeze" and (given == ["1"] or (given == ["2"] and mask.axes in (0, 3))) and mask.axes != 4:
        # of unknown axes: two calls in a row give the four that attention takes
        inner = getattr(node.func, "value", None)
        twice = isinstance(inner, cst.Call) and code(inner.func).endswith(".unsqueeze")
        axes = 4 if twice and not mask.axes else mask.axes and mask.axes + 1
        return replace(mask, axes=axes), text
    if name == "view" and len(given) == 4 and given[1:3] == ["1", "1"]:
        return replace(mask, axes=4), text
    keys = name == "view" and len(given) == 4 and given[1:3] == ["1", "-1"] and given[3].endswith(".shape[-1]")
    if keys and mask.axes:
        return replace(mask, axes=4), text
    raise UnknownMask


def _cat(node: cst.Call, parts: cst.BaseExpression, dim: str, env: Mapping[str, Mask]) -> tuple[Mask, str]:
    """Masks of several runs of keys; a boolean one shows what the others are, for they are of one type.

    A run that is padded by length is none of a text's: its tokens may be what the model gives back, and flash
    attention computes nothing for a query that is no key.
    """
    if not isinstance(parts, cst.List | cst.Tuple) or dim not in ("1", "-1"):
        raise UnknownMask
    found = []
    for element in parts.elements:
        try:
            found.append(lowered(element.value, env)[0])
        except UnknownMask:
            found.append(Mask(0))
    if any(mask.changes for mask in found) or not any(mask.boolean or mask.places for mask in found):
        raise UnknownMask
    places = frozenset[Place]().union(*(mask.places for mask in found))
    axes, boolean = max(mask.axes for mask in found), any(mask.boolean for mask in found)
    return Mask(axes, boolean, by_length="part" if any(m.by_length for m in found) else "", places=places), code(node)


def _length(sizes: list[cst.BaseExpression]) -> int:
    """The axes of a tensor made of these sizes."""
    if len(sizes) == 1 and isinstance(sizes[0], cst.Tuple):
        return len(sizes[0].elements)
    return len(sizes) if len(sizes) > 1 else 0


def _parsed(text: str) -> cst.BaseExpression:
    return cst.parse_expression(text)
