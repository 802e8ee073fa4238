"""Tables of names: guessed only where forced, proved one to one, and what the port runs does what the proof says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniport.custom.remap import Shape, apply, prove
from omniport.custom.remap_guess import guess
from omniport.custom.weight_names import weight_names
from omniport.plan.model import Why
from omniport.plan.remap import RemapRule, RemapTable
from omniport.plan.serial import dumps, loads

WHY = Why("by hand")
W = 8


def rule(verb: Any, names: tuple[str, ...] = (), into: tuple[str, ...] = (), sizes: tuple[int, ...] = ()) -> RemapRule:
    return RemapRule(verb, names, into, sizes, WHY)


def blocks(prefix: str, layers: Mapping[str, Shape]) -> dict[str, Shape]:
    """Three blocks of linears with biases."""
    return {
        f"{prefix}.{i}.{name}.{leaf}": shape if leaf == "weight" else shape[:1]
        for i in range(3)
        for name, shape in layers.items()
        for leaf in ("weight", "bias")
    }


HEAD: dict[str, Shape] = {"patch_embedding.weight": (W, 4), "patch_embedding.bias": (W,), "head.head.weight": (4, W)}
SQUARE: Shape = (W, W)
ATTENTION = {f"self_attn.{name}": SQUARE for name in "qkvo"}
ORIGINAL = {**HEAD, **blocks("blocks", {**ATTENTION, "ffn.0": (32, W), "ffn.2": (W, 32)})}
RENAMED = {
    **{k: v for k, v in HEAD.items() if k[:4] != "head"},
    "proj_out.weight": (4, W),
    **blocks(
        "blocks",
        {
            **{f"attn1.{n}": SQUARE for n in ("to_q", "to_k", "to_v", "to_out.0")},
            "ffn.net.0.proj": (32, W),
            "ffn.net.2": (W, 32),
        },
    ),
}
FUSED = blocks("layers", {"attn.qkv": (3 * W, W), "attn.proj": SQUARE})
PARTS = blocks("layers", {**{f"attn.{n}": SQUARE for n in "qkv"}, "attn.proj": SQUARE})
GROUPED = blocks("layers", {"attn.qkv": (W + 4, W)})
GROUPED_PARTS = blocks("layers", {"attn.q": SQUARE, "attn.k": (2, W), "attn.v": (2, W)})
OTHER = {"vae.decoder.weight": (3, 3)}

CASES: dict[str, tuple[Mapping[str, Shape], Mapping[str, Shape], dict[str, str], list[str]]] = {
    "equal": (ORIGINAL, ORIGINAL, {}, []),
    "prefix": ({f"module.{k}": v for k, v in ORIGINAL.items()}, ORIGINAL, {}, ["strip"]),
    "prefix and more": ({**{f"model.{k}": v for k, v in ORIGINAL.items()}, **OTHER}, ORIGINAL, {}, ["strip", "drop"]),
    "more": ({**ORIGINAL, **OTHER}, ORIGINAL, {}, ["drop"]),
    "no prefix": (ORIGINAL, {f"model.{k}": v for k, v in ORIGINAL.items()}, {}, ["add"]),
    "other words": (ORIGINAL, RENAMED, {}, ["rename"] * 7),
    "prefix and words": ({f"model.{k}": v for k, v in ORIGINAL.items()}, RENAMED, {}, ["strip"] + ["rename"] * 7),
    "split": (FUSED, PARTS, {}, ["split"]),
    "split unequally": (GROUPED, GROUPED_PARTS, {}, ["split"]),
    "stack": (PARTS, FUSED, {}, ["stack"]),
    "reshape": (
        {"a.weight": (W, 4, 1, 1), "b.gamma": (W, 1)},
        {"a.weight": (W, 4), "b.gamma": (W,)},
        {},
        ["reshape"] * 2,
    ),
    "flattened": ({"a.weight": (W, 4, 2, 2)}, {"a.weight": (W, 16)}, {}, ["reshape"]),
    "tie": ({"in.weight": (W, 4)}, {"in.weight": (W, 4), "out.weight": (W, 4)}, {"out.weight": "in.weight"}, ["tie"]),
    "only one of its shape": (
        {"x.weight": (W, 5), "y.weight": (3, 3)},
        {"u.weight": (W, 5), "y.weight": (3, 3)},
        {},
        ["rename"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_guessed_and_proved(case: str) -> None:
    header, parameters, ties, verbs = CASES[case]
    table = guess(header, parameters, ties, "x.safetensors")
    assert [r.verb for r in table.rules] == verbs
    proof = prove(table, header, parameters)
    assert (proof.faults, proof.filled, proof.unproved) == ((), len(parameters), ())
    assert loads(RemapTable, dumps(table)) == table


@pytest.mark.parametrize(
    ("header", "parameters", "reason"),
    [
        ({"a.weight": (4, W)}, {"a.weight": (W, 4)}, r"a\.weight: \[4, 8\] is not the shape \[8, 4\]"),  # transposed
        (
            {"a.weight": SQUARE, "b.weight": SQUARE},
            {"c.weight": SQUARE, "d.weight": SQUARE},
            "no tensor for c.weight, d.weight",
        ),
        (
            {"model.a.weight": SQUARE, "ema.a.weight": SQUARE},
            {"a.weight": SQUARE},
            "no parameter for ema.a.weight, model.a.weight",
        ),
        (
            {k: v for k, v in ORIGINAL.items() if k != "blocks.1.self_attn.k.weight"},
            RENAMED,
            r"no tensor for blocks\.1\.attn1\.to_k\.weight$",
        ),
        (
            {**ORIGINAL, "blocks.1.self_attn.extra.weight": SQUARE},
            ORIGINAL,
            r"no parameter for blocks\.1\.self_attn\.extra\.weight$",
        ),
        (
            blocks("layers", {"attn.qkv": (3 * W, W)}),
            {k: v for k, v in PARTS.items() if "proj" not in k and ".1.attn.v" not in k},
            "no tensor for",
        ),
    ],
)
def test_what_is_not_forced_is_a_fault_that_names_it(
    header: Mapping[str, Shape], parameters: Mapping[str, Shape], reason: str
) -> None:
    proof = prove(guess(header, parameters, {}, "x"), header, parameters)
    assert any(re.search(reason, fault) for fault in proof.faults), proof.faults


@pytest.mark.parametrize("case", [c for c in CASES if CASES[c][3]])
def test_a_table_without_one_of_its_rules_fails(case: str) -> None:
    header, parameters, ties, _ = CASES[case]
    table = guess(header, parameters, ties, "x")
    for absent in table.rules:
        twin = RemapTable(tuple(r for r in table.rules if r is not absent))
        assert prove(twin, header, parameters).faults, absent


def test_twins_of_a_split() -> None:
    table = guess(GROUPED, GROUPED_PARTS, {}, "x")
    (found,) = table.rules
    for broken in (
        replace(found, sizes=(2, W, 2)),  # q and k exchanged: their rows differ
        replace(found, sizes=(W, 2, 1)),
        replace(found, into=("layers.*.attn.q", "layers.*.attn.k", "layers.*.attn.k")),
        replace(found, names=("layer.*.attn.qkv",)),
    ):
        assert prove(RemapTable((broken,)), GROUPED, GROUPED_PARTS).faults, broken


@pytest.mark.parametrize(
    ("rules", "header", "reason"),
    [
        ((rule("rename", ("a",), ("b",)),), {"a.weight": (1,), "b.weight": (1,)}, "filled by a.weight and b.weight"),
        ((rule("rename", ("z",), ("b",)),), {"b.weight": (1,)}, "the rule rename z -> b fits nothing"),
        ((rule("stack", ("q", "k"), ("b",)),), {"q.weight": (1,)}, "lacks k"),
        ((rule("stack", ("q", "k"), ("b",)),), {"q.weight": (1, 2), "k.weight": (1, 3)}, "do not fit together"),
        ((rule("swap", ("b",)),), {"b.weight": (1,)}, "no two halves"),
        ((rule("reshape", ("b",), (), (3,)),), {"b.weight": (1,)}, "not the size"),
        ((rule("split", ("q",), ("b", "c"), (1, 1)),), {"q.weight": (3,)}, "cannot be split"),
    ],
)
def test_faults(rules: tuple[RemapRule, ...], header: dict[str, Shape], reason: str) -> None:
    assert any(reason in fault for fault in prove(RemapTable(rules), header, {"b.weight": (1,)}).faults)


def test_the_longest_beginning_decides() -> None:
    table = RemapTable((rule("rename", ("l",), ("b",)), rule("rename", ("l.*.o",), ("b.*.out",))))
    filled, _, proof = apply(table, {"l.0.o.weight": (1,), "l.0.q.weight": (1,), "lo.weight": (1,)})
    assert list(filled) == ["b.0.out.weight", "b.0.q.weight", "lo.weight"]
    assert not proof.faults


# ---------------------------------------------------------------------------------------------- what the port will run
def run(table: RemapTable, tensors: dict[str, Any]) -> dict[str, Any]:
    scope: dict[str, Any] = {}
    exec(compile("from __future__ import annotations\n" + weight_names(table), "weight_names", "exec"), scope)  # ours
    found: dict[str, Any] = {}
    for name, tensor in scope["map_weights"](iter(tensors.items())):
        assert name not in found
        found[name] = tensor
    return found


NAMES = st.sampled_from(["q", "k", "v", "o", "norm", "ffn.0", "ffn.2", "mod"])


@st.composite
def checkpoints(draw: st.DrawFn) -> tuple[RemapTable, dict[str, Shape], dict[str, Shape]]:
    """A class, its checkpoint under other names, and the table that leads from there to the class."""
    layers = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    depth = draw(st.integers(1, 3))
    parameters: dict[str, Shape] = {"start.weight": (W, 3)}
    for i in range(depth):
        parameters |= {f"blocks.{i}.{name}.weight": (2 * (n + 1), W) for n, name in enumerate(layers)}
    rules: list[RemapRule] = []
    header = dict(parameters)

    def renamed(old: str, new: str) -> None:
        nonlocal header
        header = {
            (new + k.removeprefix(old) if k == old or k.startswith(f"{old}.") else k): v for k, v in header.items()
        }

    if {"q", "k", "v"} <= set(layers) and draw(st.booleans()):
        rows = tuple(2 * (layers.index(n) + 1) for n in "qkv")
        for i in range(depth):
            for n in "qkv":
                del header[f"blocks.{i}.{n}.weight"]
            header[f"blocks.{i}.qkv.weight"] = (sum(rows), W)
        rules.append(rule("split", ("blocks.*.qkv",), tuple(f"blocks.*.{n}" for n in "qkv"), rows))
    for name in layers:
        if f"blocks.0.{name}.weight" in header and draw(st.booleans()):
            for i in range(depth):
                renamed(f"blocks.{i}.{name}", f"blocks.{i}.x_{name}")
            rules.append(rule("rename", (f"blocks.*.x_{name}",), (f"blocks.*.{name}",)))
    if draw(st.booleans()):
        header["start.weight"] = (W, 3, 1)
        rules.append(rule("reshape", ("start.weight",), (), (W, 3)))
    if draw(st.booleans()):
        rules.append(rule("swap", ("start",)))
    if draw(st.booleans()):
        header = {f"module.{k}": v for k, v in header.items()}
        rules.append(rule("strip", ("module.",)))
    if draw(st.booleans()):
        header["other.weight"] = (1,)
        rules.append(rule("drop", ("other",)))
    return RemapTable(tuple(rules)), header, parameters


@settings(max_examples=60, deadline=None)
@given(checkpoints(), st.randoms(use_true_random=False))
def test_the_port_does_what_the_proof_says(
    case: tuple[RemapTable, dict[str, Shape], dict[str, Shape]], order: Any
) -> None:
    torch = pytest.importorskip("torch")
    table, header, parameters = case
    assert prove(table, header, parameters).faults == ()
    assert loads(RemapTable, dumps(table)) == table
    names = list(header)
    order.shuffle(names)
    tensors = {n: torch.arange(_size(header[n])).reshape(tuple(d or 0 for d in header[n])) for n in names}
    found = run(table, tensors)
    assert {n: tuple(t.shape) for n, t in found.items()} == parameters
    kept = sum(t.numel() for n, t in tensors.items() if not n.startswith("other"))
    assert sum(t.numel() for t in found.values()) == kept


@settings(max_examples=60, deadline=None)
@given(checkpoints(), st.data())
def test_a_damaged_checkpoint_is_a_fault(
    case: tuple[RemapTable, dict[str, Shape], dict[str, Shape]], data: st.DataObject
) -> None:
    table, header, parameters = case
    kept = sorted(n for n in header if not n.startswith("other"))
    victim = data.draw(st.sampled_from(kept))
    without = {k: v for k, v in header.items() if k != victim}
    assert prove(table, without, parameters).faults
    shape = header[victim]
    assert prove(table, {**header, victim: ((shape[0] or 0) + 2, *shape[1:])}, parameters).faults
    assert prove(table, {**header, f"{victim}x": shape}, parameters).faults


def _size(shape: Shape) -> int:
    size = 1
    for dim in shape:
        size *= dim or 0
    return size


def test_the_port_stacks_ties_and_swaps() -> None:
    torch = pytest.importorskip("torch")
    rules = (rule("stack", ("q", "k"), ("qk",)), rule("tie", ("qk.weight",), ("other.weight",)), rule("swap", ("s",)))
    tensors = {"k.weight": torch.tensor([3, 4]), "q.weight": torch.tensor([1, 2]), "s": torch.tensor([1, 2])}
    found = run(RemapTable(rules), tensors)
    assert {n: t.tolist() for n, t in found.items()} == {
        "qk.weight": [1, 2, 3, 4],
        "other.weight": [1, 2, 3, 4],
        "s": [2, 1],
    }
    with pytest.raises(ValueError, match="only parts of"):
        run(RemapTable(rules), {"q.weight": tensors["q.weight"]})
