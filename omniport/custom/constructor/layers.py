"""Parameters and buffers of torch's layers, by their constructor's arguments: names and shapes, as torch makes them.

Source: the signatures of ``torch.nn`` 2.x; a test compares every layer with torch on the meta device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omniport.custom.remap import Shape

Tensors = dict[str, Shape]


class Unread(Exception):
    """The source does not show which parameters there are; the message says what was met."""


class Unknown:
    """A value that the source does not show."""

    def __repr__(self) -> str:
        return "?"


UNKNOWN = Unknown()


def dim(value: Any) -> int | None:
    """A dimension; None if the value is not known."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def flag(value: Any) -> bool:
    """A switch that decides whether a parameter is there.

    Raises:
        Unread: it is not known.
    """
    if isinstance(value, Unknown):
        raise Unread("a switch of a layer that the source does not show")
    return bool(value)


def _pair(bias: Any, weight: Shape, rows: int | None) -> Tensors:
    return {"weight": weight, **({"bias": (rows,)} if flag(bias) else {})}


def _linear(in_features: Any, out_features: Any, bias: Any = True, **_: Any) -> Tensors:
    return _pair(bias, (dim(out_features), dim(in_features)), dim(out_features))


def _conv(dims: int, transposed: bool) -> Callable[..., Tensors]:
    def made(
        in_channels: Any,
        out_channels: Any,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        *more: Any,
        groups: Any = 1,
        bias: Any = True,
        **_: Any,
    ) -> Tensors:
        given = list(more)  # dilation, groups, bias; transposed: output_padding, groups, bias, dilation
        groups = given[1] if len(given) > 1 else groups
        bias = given[2] if len(given) > 2 else bias
        kernel: list[int | None] = [None] * dims
        if isinstance(kernel_size, list | tuple) and len(kernel_size) == dims:
            kernel = [dim(k) for k in kernel_size]
        elif dim(kernel_size) is not None:
            kernel = [dim(kernel_size)] * dims
        rows, columns = (out_channels, in_channels) if not transposed else (in_channels, out_channels)
        shared = dim(columns), dim(groups)
        inner = shared[0] // shared[1] if shared[0] is not None and shared[1] else None
        return _pair(bias, (dim(rows), inner, *kernel), dim(out_channels))

    return made


def _shape(value: Any) -> Shape:
    return tuple(dim(v) for v in value) if isinstance(value, list | tuple) else (dim(value),)


def _layer_norm(
    normalized_shape: Any, eps: Any = None, elementwise_affine: Any = True, bias: Any = True, **_: Any
) -> Tensors:
    if not flag(elementwise_affine):
        return {}
    shape = _shape(normalized_shape)
    return {"weight": shape, "bias": shape} if flag(bias) else {"weight": shape}


def _rms_norm(normalized_shape: Any, eps: Any = None, elementwise_affine: Any = True, **_: Any) -> Tensors:
    return {"weight": _shape(normalized_shape)} if flag(elementwise_affine) else {}


def _group_norm(num_groups: Any, num_channels: Any, eps: Any = None, affine: Any = True, **_: Any) -> Tensors:
    return {"weight": (dim(num_channels),), "bias": (dim(num_channels),)} if flag(affine) else {}


def _batch_norm(
    num_features: Any,
    eps: Any = None,
    momentum: Any = None,
    affine: Any = True,
    track_running_stats: Any = True,
    **_: Any,
) -> Tensors:
    rows = (dim(num_features),)
    found: Tensors = {"weight": rows, "bias": rows} if flag(affine) else {}
    return found | (
        {"running_mean": rows, "running_var": rows, "num_batches_tracked": ()} if flag(track_running_stats) else {}
    )


def _embedding(num_embeddings: Any, embedding_dim: Any, *_: Any, **__: Any) -> Tensors:
    return {"weight": (dim(num_embeddings), dim(embedding_dim))}


def _attention(embed_dim: Any, num_heads: Any, dropout: Any = 0.0, bias: Any = True, **more: Any) -> Tensors:
    if {k for k, v in more.items() if v not in (None, False)} - {"batch_first", "device", "dtype"}:
        raise Unread("nn.MultiheadAttention with widths of its own for keys or values")
    width = dim(embed_dim)
    rows = None if width is None else 3 * width
    found: Tensors = {"in_proj_weight": (rows, width), "out_proj.weight": (width, width)}
    return found | ({"in_proj_bias": (rows,), "out_proj.bias": (width,)} if flag(bias) else {})


def _none(*_: Any, **__: Any) -> Tensors:
    return {}


LAYERS: dict[str, Callable[..., Tensors]] = {
    "Linear": _linear,
    **{f"Conv{n}d": _conv(n, False) for n in (1, 2, 3)},
    **{f"ConvTranspose{n}d": _conv(n, True) for n in (1, 2, 3)},
    "LayerNorm": _layer_norm,
    "RMSNorm": _rms_norm,
    "GroupNorm": _group_norm,
    **{f"BatchNorm{n}d": _batch_norm for n in (1, 2, 3)},
    "Embedding": _embedding,
    "MultiheadAttention": _attention,
    **dict.fromkeys(
        (
            "Identity", "SiLU", "GELU", "ReLU", "LeakyReLU", "Tanh", "Sigmoid", "Softmax", "Softplus", "Mish", "ELU",
            "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "Flatten", "Unflatten", "Upsample", "PixelShuffle",
            "PixelUnshuffle", "AvgPool1d", "AvgPool2d", "AvgPool3d", "MaxPool1d", "MaxPool2d", "MaxPool3d",
            "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "ZeroPad2d", "ConstantPad1d", "ConstantPad3d", "ReplicationPad3d",
            "ReplicationPad2d", "ReflectionPad1d", "ReflectionPad2d", "Hardswish", "ReLU6", "GLU", "LogSigmoid",
        ),
        _none,
    ),
}  # fmt: skip


def _diffusers_rms_norm(hidden: Any, eps: Any = None, elementwise_affine: Any = True, bias: Any = False) -> Tensors:
    return _layer_norm(hidden, eps, elementwise_affine, bias)


#: layers of packages that a vLLM-Omni installation has
FOREIGN: dict[str, Callable[..., Tensors]] = {"diffusers.models.normalization.RMSNorm": _diffusers_rms_norm}
