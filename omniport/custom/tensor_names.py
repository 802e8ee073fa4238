"""What the words in tensor names mean, and which numbers in them count equal blocks.

Source of the words: the checkpoints and hand-written ports compared in the study of custom repositories.  A word alone
decides nothing: a pair of names must also have equal shapes and indices, and be the only such pair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from omniport.custom.remap import Shape

#: canonical word -> the spellings met; several segments are joined by a dot
_WORDS: dict[str, tuple[str, ...]] = {
    "q": ("to_q", "q_proj", "wq", "query", "q_linear", "linear_q", "query_proj", "q_lin"),
    "k": ("to_k", "k_proj", "wk", "key", "k_linear", "linear_k", "key_proj", "k_lin"),
    "v": ("to_v", "v_proj", "wv", "value", "v_linear", "linear_v", "value_proj", "v_lin"),
    "o": ("to_out.0", "to_out", "o_proj", "out_proj", "wo", "out_lin", "o_linear", "linear_o", "proj"),
    "qkv": ("to_qkv", "qkv_proj", "qkv_linear", "linear_qkv", "Wqkv", "query_key_value"),
    "kv": ("to_kv", "kv_proj", "kv_linear", "linear_kv", "Wkv"),
    "gate_up": ("gate_up_proj", "gate_and_up_proj", "w13", "w12"),
    "gate": ("gate_proj", "w_gate"),
    "up": ("up_proj", "w_up"),
    "down": ("down_proj", "w_down"),
    "norm_q": ("q_norm", "query_norm", "q_ln"),
    "norm_k": ("k_norm", "key_norm", "k_ln"),
    "self": ("self_attn", "self_attention", "attn1", "attn", "attention"),
    "cross": ("cross_attn", "cross_attention", "attn2"),
    "ff": ("ffn", "mlp", "feed_forward", "feedforward"),
    "in": ("fc1", "net.0.proj", "net_0.proj", "linear1", "lin1", "w_in"),
    "out": ("fc2", "net.2", "net_2", "linear2", "lin2", "w_out"),
    "blocks": ("layers", "transformer_blocks", "block", "layer"),
    "time": ("time_embedding", "time_embed", "t_embedder", "time_embedder", "timestep_embedder", "t_embed"),
    "patch": ("patch_embedding", "patch_embed", "patch_embedder", "x_embedder", "img_in", "x_embed"),
    "head": ("proj_out", "out_layer", "head.head"),
}
_SPELLED = sorted(((s, w) for w, spellings in _WORDS.items() for s in spellings), key=lambda p: -p[0].count("."))

#: what a fused layer is made of, in order, as its name spells it
FUSED = {"qkv": ("q", "k", "v"), "kv": ("k", "v"), "gate_up": ("gate", "up")}


def canonical(name: str) -> str:
    """``name`` with every known spelling made its word; ``ff.0`` and ``ff.2`` are its two layers."""
    left, done = name.split("."), []
    while left:
        for spelling, word in _SPELLED:
            parts = spelling.split(".")
            if left[: len(parts)] == parts:
                done.append(word)
                left = left[len(parts) :]
                break
        else:
            segment = left.pop(0)
            done.append({"0": "in", "2": "out"}.get(segment, segment) if done[-1:] == ["ff"] else segment)
    return ".".join(done)


def patterns(shapes: Mapping[str, Shape]) -> dict[str, dict[tuple[str, ...], str]]:
    """Pattern -> indices -> name: a number becomes ``*`` where it counts equal things from 0, two of them or more."""
    found: dict[str, dict[tuple[str, ...], str]] = {}
    _walk({name: (name.split("."), shape) for name, shape in shapes.items()}, (), (), found)
    return found


_Left = dict[str, tuple[list[str], Shape]]


def _walk(
    names: _Left, pattern: tuple[str, ...], index: tuple[str, ...], found: dict[str, dict[tuple[str, ...], str]]
) -> None:
    """``names``: whole name -> what is left of it behind ``pattern``, and its shape."""
    groups: dict[str, _Left] = {}
    for name, (left, shape) in names.items():
        if not left:
            found.setdefault(".".join(pattern), {})[index] = name
        else:
            groups.setdefault(left[0], {})[name] = (left[1:], shape)
    numbers = [key for key in groups if key.isdigit()]
    counted = len(numbers) > 1 and sorted(map(int, numbers)) == list(range(len(numbers)))
    alike = counted and _alike([{(".".join(r), s) for r, s in groups[n].values()} for n in numbers])
    for key, inner in groups.items():
        if alike and key in numbers:
            _walk(inner, (*pattern, "*"), (*index, key), found)
        else:
            _walk(inner, (*pattern, key), index, found)


def _alike(members: list[set[tuple[str, Shape]]]) -> bool:
    """Whether each has most of what most have: a block that lacks a tensor is still one."""
    common = {item for item, count in Counter(i for m in members for i in m).items() if count * 2 > len(members)}
    return bool(common) and all(len(member & common) * 2 > len(common) for member in members)
