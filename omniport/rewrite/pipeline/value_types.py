"""The type of what an expression of a pipeline gives, as an annotation says it: what reading alone tells, else nothing.

A type is a set of its parts (``torch.Tensor``, ``None``); an empty set is what never comes about.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import libcst as cst

from omniport.source.syntax import code, dotted

Type = frozenset[str]
#: The type of a name, and of what a call of one of the pipeline's methods returns; None if it is not known.
Names = Callable[[str], Type | None]
Methods = Callable[[cst.Call], Type | None]

TENSOR, INT, FLOAT, BOOL, NONE = (frozenset({n}) for n in ("torch.Tensor", "int", "float", "bool", "None"))
_NEVER: Type = frozenset()
_NUMBERS = INT | FLOAT | BOOL
_MADE = {
    **{f"torch.{n}": TENSOR for n in ("arange", "cat", "concat", "empty", "full", "full_like", "linspace", "ones")},
    **{f"torch.{n}": TENSOR for n in ("ones_like", "rand", "randn", "stack", "tensor", "tile", "zeros", "zeros_like")},
    **dict.fromkeys(("randn_tensor", "F.interpolate", "F.pad", "torch.from_numpy"), TENSOR),
    **dict.fromkeys(("len", "int"), INT),
    "float": FLOAT,
    **dict.fromkeys(("bool", "isinstance"), BOOL),
    "str": frozenset({"str"}),
    "retrieve_timesteps": frozenset({"tuple[torch.Tensor, int]"}),
}
#: Methods of a tensor that give one.
_KEPT = frozenset(
    {
        *("bool", "clamp", "clone", "contiguous", "cpu", "div", "expand", "expand_as", "flatten", "float", "half"),
        *("index_select", "int", "long", "masked_fill", "mul", "new_ones", "new_zeros", "permute", "repeat"),
        *("repeat_interleave", "reshape", "squeeze", "to", "transpose", "type", "type_as", "unflatten", "unsqueeze"),
        "view",
    }
)
#: Of a tensor's data type, which another may have too.
_TENSORS = frozenset({"torch.BoolTensor", "torch.FloatTensor", "torch.IntTensor", "torch.LongTensor"})
_ANY = "?"  # an element of a tuple that is not known
_OF_A_TENSOR = {"dtype": "torch.dtype", "device": "torch.device", "shape": "torch.Size"}
#: Pixels for each latent.
_RATIO = re.compile(r"compression_ratio|vae_scale_factor")
#: Numbers of every config: of channels, and of the schedule.
_COUNTS = frozenset({"in_channels", "latent_channels", "z_dim", "num_train_timesteps"})


def type_of(node: cst.BaseExpression, names: Names, methods: Methods) -> Type | None:
    """The type of an expression; None if it is not known."""

    def of(part: cst.BaseExpression) -> Type | None:
        return type_of(part, names, methods)

    if isinstance(node, cst.Name):
        return {"None": NONE, "True": BOOL, "False": BOOL}.get(node.value) or names(node.value)
    if isinstance(node, cst.Integer | cst.Float):
        return INT if isinstance(node, cst.Integer) else FLOAT
    if isinstance(node, cst.SimpleString | cst.FormattedString | cst.ConcatenatedString):
        return frozenset({"str"})
    if isinstance(node, cst.Tuple):
        return _tuple([None if isinstance(e, cst.StarredElement) else of(e.value) for e in node.elements])
    if isinstance(node, cst.List | cst.ListComp):
        return frozenset({"list"})
    if isinstance(node, cst.IfExp):
        return joined(of(node.body), of(node.orelse))
    if isinstance(node, cst.UnaryOperation):
        return BOOL if isinstance(node.operator, cst.Not) else of(node.expression)
    if isinstance(node, cst.BinaryOperation):
        return _arithmetic(node.operator, of(node.left), of(node.right))
    if isinstance(node, cst.Comparison):
        return _compared(node, [of(node.left), *(of(c.comparator) for c in node.comparisons)])
    if isinstance(node, cst.BooleanOperation):
        left, right = of(node.left), of(node.right)
        gone = NONE if isinstance(node.operator, cst.Or) else _NEVER
        return None if left is None else joined(left - gone, right)
    if isinstance(node, cst.Call):
        return _called(node, of, methods)
    if isinstance(node, cst.Attribute):
        return _read(node, of, names)
    return _element(node, of) if isinstance(node, cst.Subscript) else None


def joined(*types: Type | None) -> Type | None:
    """What either may be."""
    known = [t for t in types if t is not None]
    return frozenset().union(*known) if len(known) == len(types) else None


def parts_of(text: str) -> Type:
    """The parts of an annotation, ``A | B`` or ``"A | B"``."""
    found = _split(text.strip().strip("\"'"), "|")
    return frozenset("torch.Tensor" if part in _TENSORS else part for part in found)


def elements_of(kind: Type | None, count: int) -> list[Type | None]:
    """The types of the values that a tuple is unpacked to."""
    found = [_elements(part, count) for part in kind or ("",)]
    return [joined(*column) for column in zip(*found, strict=True)]


def _elements(part: str, count: int) -> list[Type | None]:
    if part == "torch.Size":
        return [INT] * count
    inner = _split(part[len("tuple[") : -1], ",") if part.startswith("tuple[") else []
    if len(inner) == 2 and inner[1] == "...":
        inner = inner[:1] * count
    known = inner if len(inner) == count else [_ANY] * count
    return [None if text == _ANY else parts_of(text) for text in known]


def written(kind: Type) -> str:
    """The annotation, None last."""
    plain = {part.partition("[")[0] if _ANY in part else part for part in kind}
    return " | ".join(sorted(plain, key=lambda part: (part == "None", part)))


def _split(text: str, sign: str) -> list[str]:
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[(") - (letter in "])")
        if letter == sign and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _tuple(kinds: list[Type | None]) -> Type:
    return frozenset({f"tuple[{', '.join(' | '.join(sorted(kind)) if kind else _ANY for kind in kinds)}]"})


def _arithmetic(sign: cst.BaseBinaryOp, left: Type | None, right: Type | None) -> Type | None:
    if TENSOR in (left, right):
        return TENSOR
    if left is None or right is None or not left or not right:
        return None
    if left | right <= _NUMBERS:
        if isinstance(sign, cst.Divide) or FLOAT & (left | right):
            return FLOAT
        return INT if isinstance(sign, cst.Add | cst.Subtract | cst.Multiply | cst.FloorDivide | cst.Modulo) else None
    listed = frozenset({"list"})
    repeated = isinstance(sign, cst.Multiply) and {left, right} == {listed, INT}
    return listed if repeated or left == right == listed and isinstance(sign, cst.Add) else None


def _compared(node: cst.Comparison, sides: list[Type | None]) -> Type | None:
    if all(isinstance(c.operator, cst.Is | cst.IsNot | cst.In | cst.NotIn) for c in node.comparisons):
        return BOOL
    return BOOL if all(side is not None and not side & TENSOR for side in sides) else None


def _called(node: cst.Call, of: Callable[[cst.BaseExpression], Type | None], methods: Methods) -> Type | None:
    name = dotted(node.func) or ""
    if name in _MADE:
        return _MADE[name]
    if name.startswith("self.") and name.count(".") == 1:
        return methods(node)
    if name in ("max", "min", "round", "abs") and node.args:
        kinds = [of(a.value) for a in node.args]
        if name == "round":
            return INT if len(kinds) == 1 and kinds[0] and kinds[0] <= _NUMBERS else None
        return kinds[0] if all(kind == kinds[0] and kind in (INT, FLOAT) for kind in kinds) else None
    if name in ("copy.deepcopy", "copy.copy") and len(node.args) == 1:
        return of(node.args[0].value)
    if isinstance(node.func, cst.Attribute) and of(node.func.value) == TENSOR:
        if node.func.attr.value in _KEPT:
            return TENSOR
        if node.func.attr.value in ("chunk", "split"):
            return frozenset({"tuple[torch.Tensor, ...]"})
        sizes = node.func.attr.value in ("size", "dim", "numel")
        return INT if sizes and (node.func.attr.value != "size" or node.args) else None
    return None


def _read(node: cst.Attribute, of: Callable[[cst.BaseExpression], Type | None], names: Names) -> Type | None:
    name, owner = node.attr.value, dotted(node.value) or ""
    if name in _OF_A_TENSOR and of(node.value) == TENSOR:
        return frozenset({_OF_A_TENSOR[name]})
    if name in ("dtype", "device") and owner.startswith("self."):  # of a component, and of the config
        return frozenset({_OF_A_TENSOR[name]})
    if owner.startswith("self") and (name in _COUNTS or _RATIO.search(name)):
        return INT
    return names(f"self.{name}") if owner == "self" else None


def _element(node: cst.Subscript, of: Callable[[cst.BaseExpression], Type | None]) -> Type | None:
    kind = of(node.value)
    if kind == TENSOR:
        return TENSOR
    index = node.slice[0].slice if len(node.slice) == 1 else None
    size = frozenset({"torch.Size"})
    if not isinstance(index, cst.Index):
        return kind if kind == size else None
    if kind == size:
        return INT
    at, several = code(index.value).strip(), [len(_split(part[6:-1], ",")) for part in kind or ()]
    if kind is None or not at.isdigit() or len(set(several)) != 1 or any(part.endswith("...]") for part in kind):
        return None
    elements = elements_of(kind, several[0])
    return elements[int(at)] if int(at) < len(elements) else None
