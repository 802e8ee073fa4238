"""Generated transformers on the real vLLM-Omni: one rank, two tensor-parallel ranks, two sequence-parallel ranks.

The reference is the normal form itself, with random norm weights and biases.  Broken twins of the generated text show
that each check can fail.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from omniport.analyse.normalise import normalise
from omniport.analyse.parallel import plan_parallel
from omniport.rewrite.transformer import render_transformer
from omniport.source.tree import SourceTree
from omniport.verify.api import ENVIRONMENT
from tests.support.normal import CANVAS, across_heads, joint, mixed, normal_form, noted, transformer_plan

pytestmark = pytest.mark.verify
ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-5
FLUX = "FluxTransformer2DModel"
RUNS: dict[str, tuple[dict[str, int], int]] = {
    "one": ({}, 1),
    "tp2": ({"tensor_parallel_size": 2}, 2),
    "sp2": ({"ulysses_degree": 2}, 2),
    "sp2-odd": ({"ulysses_degree": 2}, 2),
}
#: Lengths that two ranks cannot share evenly, each stream on its own.
ODD: dict[str, dict[str, list[int]]] = {
    "canvas": {"hidden_states": [2, 13, 8]},
    "across": {"hidden_states": [2, 13, 4]},
    "mixed": {},
    "joint": {"hidden_states": [2, 13, 4], "encoder_hidden_states": [2, 5, 4], "mask": [2, 18]},
    "noted": {"hidden_states": [2, 13, 4]},
    "flux": {
        "hidden_states": [2, 17, 16],
        "encoder_hidden_states": [2, 9, 24],
        "img_ids": [17, 3],
        "txt_ids": [9, 3],
    },
}

MODELS: dict[str, dict[str, Any]] = {
    "canvas": {
        "root": "CanvasTransformer",
        "config": {},
        "inputs": {
            "hidden_states": [2, 12, 8],
            "encoder_hidden_states": [2, 5, 12],
            "pooled_projections": [2, 12],
            "return_dict": False,
        },
    },
    "across": {
        "root": "Root",
        "config": {"heads": 4},
        "inputs": {
            "hidden_states": [2, 12, 4],
            "encoder_hidden_states": [2, 5, 4],
            "pooled_projections": [2, 16],
        },
    },
    "mixed": {
        "root": "Root",
        "config": {"heads": 4},
        "inputs": {"hidden_states": [2, 12, 4], "encoder_hidden_states": [2, 5, 4], "pooled_projections": [2, 16]},
    },
    "joint": {
        "root": "Root",
        "config": {"heads": 4},
        "inputs": {
            "hidden_states": [2, 12, 4],
            "encoder_hidden_states": [2, 4, 4],
            "pooled_projections": [2, 16],
            "mask": [2, 16],
        },
    },
    "noted": {
        "root": "Root",
        "config": {"heads": 4},
        "inputs": {"hidden_states": [2, 12, 4], "encoder_hidden_states": [2, 5, 4]},
        "absent": {"hidden_states": [2, 12, 4]},
    },
    "flux": {
        "root": FLUX,
        "config": {
            "in_channels": 16,
            "num_layers": 2,
            "num_single_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 4,
            "joint_attention_dim": 24,
            "pooled_projection_dim": 20,
            "guidance_embeds": True,
            "axes_dims_rope": (4, 6, 6),
        },
        "inputs": {
            "hidden_states": [2, 16, 16],
            "encoder_hidden_states": [2, 8, 24],
            "pooled_projections": [2, 20],
            "timestep": [2],
            "img_ids": [16, 3],
            "txt_ids": [8, 3],
            "guidance": [2],
            "return_dict": False,
        },
    },
}

#: The runs of a model whose tokens cannot be split.
WHOLE = {"mixed": ("one", "tp2")}

RUN = [(name, run) for name in MODELS for run in WHOLE.get(name, tuple(RUNS))]

#: Twin -> (model, text, text in its place).
TWINS: dict[str, tuple[str, str, str]] = {
    "swapped_shards": (
        "canvas",
        '".to_k", "k"), (".to_qkv", ".to_v", "v")',
        '".to_v", "k"), (".to_qkv", ".to_k", "v")',
    ),
    "no_packing": ("flux", "shard_packed_input(self.proj_out, [dim, self.mlp_hidden_dim])", "pass"),
    "no_bias": ("canvas", "RowParallelLinear(inner_dim, dim,", "RowParallelLinear(inner_dim, dim, bias=False,"),
    "norm_alone": (
        "across",
        "tensor_model_parallel_all_reduce(torch.cat(statistics, dim=1))",
        "torch.cat(statistics, dim=1)",
    ),
    "norm_of_another_run": ("across", "sharded_weight_loader(0)", "lambda p, w: p.data.copy_(w[-len(p) :])"),
    "scale_of_another_rank": ("mixed", ", dim)[get_tensor_model_parallel_rank()]", ", dim)[0]"),
    "channels_in_one_run": ("mixed", "1, 1, 0, parts=2)", "1, 1, 0)"),
    "channels_not_summed": ("mixed", "tensor_model_parallel_all_reduce(self._conv", "(self._conv"),
    "parts_in_one_run": (
        "mixed",
        "MergedColumnParallelLinear(dim, [dim, dim, dim]",
        "ColumnParallelLinear(dim, 3 * dim",
    ),
    "no_gather": ("flux", "gather_output=True, ", ""),
    "no_split_output": ("flux", ", split_output=True", ""),
    "swapped_positions": ("flux", "torch.cat(tables[2:4], dim=0)", "torch.cat([tables[3], tables[2]], dim=0)"),
    "no_padding_mask": ("flux", "if not any(n % get", "if any(n % get"),
    "mask_in_the_order_of_the_caller": ("joint", "mask = rank_order(mask, lengths, dim=-1)", ""),
    "mask_reordered_as_one_stream": ("joint", "rank_order(mask, lengths, dim=-1)", "rank_order(mask, [sum(lengths)])"),
    "count_of_all_ranks": ("joint", "(x, context)\n        count = context.shape[1]", "(x, context)"),
    "tokens_in_place_of_others": ("noted", 'raise ValueError("context has', 'print("context has'),
    "padding_of_one_stream": ("flux", "for n in lengths]\n", "for n in [lengths[0], lengths[1] + 1]]\n"),
}


def texts(diffusers: SourceTree) -> dict[str, tuple[str, str]]:
    """Normal form and port of each model."""
    canvas = normal_form(CANVAS, "CanvasTransformer")
    flux = normalise(diffusers, diffusers.find_class(FLUX, "models"), FLUX).form
    found = {}
    forms = {"canvas": canvas, "across": across_heads(), "mixed": mixed(), "joint": joint(), "noted": noted()}
    for name, normal in (*forms.items(), ("flux", flux)):
        plan = transformer_plan(normal, plan_parallel(normal, diffusers))
        text = render_transformer(normal, plan, header="", attributes=(), separate_cfg=False)
        found[name] = (normal.code, text)
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, diffusers: SourceTree) -> dict[tuple[str, str], Any]:
    """All cases, run in one process: (port or twin, run) -> answer."""
    folder = tmp_path_factory.mktemp("ranks")
    found = texts(diffusers)
    models = {}
    for name, (normal, port) in found.items():
        (folder / f"normal_{name}.py").write_text(normal)
        (folder / f"{name}.py").write_text(port)
        models[name] = MODELS[name] | {"normal": f"normal_{name}.py", "odd": MODELS[name]["inputs"] | ODD[name]}
    for twin, (name, old, new) in TWINS.items():
        assert old in found[name][1], f"{twin}: the port has no {old!r}"
        (folder / f"{twin}.py").write_text(found[name][1].replace(old, new))
    cases = {(name, run): {"model": name, "port": f"{name}.py"} for name, run in RUN}
    models_of = {twin: model for twin, (model, _, _) in TWINS.items()}
    cases |= {
        (t, run): {"model": name, "port": f"{t}.py"}
        for t, model in models_of.items()
        for name, run in RUN
        if name == model
    }
    cases[("flux", "missing")] = {"model": "flux", "port": "flux.py", "drop": "transformer_blocks.1.attn.to_v.bias"}
    cases[("flux", "unexpected")] = {"model": "flux", "port": "flux.py", "add": ["transformer_blocks.0.extra.weight"]}
    cases[("flux", "twice")] = {"model": "flux", "port": "flux.py", "add": ["proj_out.weight"]}
    cases[("flux", "heads")] = {"model": "flux", "port": "flux.py", "meta": {"num_attention_heads": 3}}
    for name in ("noted", "tokens_in_place_of_others"):
        cases[(name, "absent")] = {"model": "noted", "port": f"{name}.py"}
    published = {"guidance_embeds": True}
    cases[("flux", "published")] = {"model": "flux", "port": "flux.py", "meta": published}
    cases[("flux", "whole")] = {"model": "flux", "port": "flux.py", "meta": published}
    for (_, run), case in cases.items():
        as_ = {"heads": "tp2", "published": "tp2", "absent": "sp2"}.get(run, run)
        parallel, world = RUNS[as_ if as_ in RUNS else "one"]
        lengths = {"sp2-odd": "odd", "absent": "absent"}.get(run, "inputs")
        case |= {"parallel": parallel, "world": world, "lengths": lengths}
    (folder / "cases.json").write_text(json.dumps({"models": models, "cases": list(cases.values())}))
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)}
    args = [sys.executable, "-m", "tests.rewrite.ranks", str(folder)]
    done = subprocess.run(args, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400)
    lines = [line for line in done.stdout.splitlines() if line.startswith(("[", "{"))]
    assert len(lines) == len(cases), done.stderr[-4000:]
    return dict(zip(cases, map(json.loads, lines), strict=True))


def ranks(results: dict[tuple[str, str], Any], name: str, run: str) -> list[dict[str, Any]]:
    answer = results[(name, run)]
    assert isinstance(answer, list), answer
    return answer


@pytest.mark.parametrize(("name", "run"), RUN)
def test_parity(results: dict[tuple[str, str], Any], name: str, run: str) -> None:
    for rank in ranks(results, name, run):
        assert rank["error"] <= TOLERANCE
        assert rank["loaded"]


@pytest.mark.parametrize(
    ("name", "reduces", "gathers"),
    [
        ("canvas", 2 * 5, 0),
        ("across", 2 * 4, 0),
        ("mixed", 2 * 4, 0),
        ("joint", 2, 0),
        ("noted", 2 * 2, 0),
        ("flux", 2 * 4 + 2, 2 * 2 + 2 + 1),
    ],
)
def test_two_ranks_hold_half_and_reduce_once_per_output(
    results: dict[tuple[str, str], Any], name: str, reduces: int, gathers: int
) -> None:
    (whole,) = ranks(results, name, "one")
    for rank in ranks(results, name, "tp2"):
        assert rank["blocks"] < 0.53 * whole["blocks"]
        assert rank["collectives"].get("gloo:all_reduce", 0) == reduces
        assert rank["collectives"].get("gloo:all_gather", 0) == gathers


@pytest.mark.parametrize(
    ("name", "run", "tokens"),
    [
        ("canvas", "sp2", {6}),
        ("joint", "sp2", {6 + 2}),
        ("noted", "sp2", {6}),
        ("flux", "sp2", {12}),
        ("canvas", "sp2-odd", {7}),
        ("joint", "sp2-odd", {7 + 3}),
        ("noted", "sp2-odd", {7}),
        ("flux", "sp2-odd", {9 + 5}),
    ],
)
def test_each_rank_has_half_of_the_tokens(
    results: dict[tuple[str, str], Any], name: str, run: str, tokens: set[int]
) -> None:
    for rank in ranks(results, name, run):
        assert rank["applied"] and set(rank["queries"]) == tokens


def test_published_size(results: dict[tuple[str, str], Any]) -> None:
    """FLUX.1-dev on the meta device: one of two ranks holds at most 0.52 of the parameters of the blocks."""
    (whole,) = ranks(results, "flux", "whole")
    assert whole["blocks"] > 11e9
    for rank in ranks(results, "flux", "published"):
        assert rank["blocks"] <= 0.52 * whole["blocks"]


@pytest.mark.parametrize(
    ("run", "text"),
    [
        ("missing", "missing: ['transformer_blocks.1.attn.to_v.bias']; unexpected: []"),
        ("unexpected", "missing: []; unexpected: ['transformer_blocks.0.extra.weight']"),
        ("twice", "missing: []; unexpected: ['proj_out.weight']"),
        ("heads", "tensor_parallel_size=2 does not divide num_attention_heads=3; these do: [1, 3]"),
    ],
)
def test_what_does_not_fit_is_refused(results: dict[tuple[str, str], Any], run: str, text: str) -> None:
    answer = results[("flux", run)]
    assert isinstance(answer, dict) and text in answer["error"]


def wrong(answer: Any, tokens: int | None = None) -> bool:
    """Whether a run failed, differs from the reference, or processed other than ``tokens`` tokens."""
    if not isinstance(answer, list):
        return True
    return any(r["error"] > TOLERANCE or (tokens and set(r["queries"]) != {tokens}) for r in answer)


@pytest.mark.parametrize(
    ("twin", "run", "tokens"),
    [
        ("swapped_shards", "one", None),
        ("no_packing", "tp2", None),
        ("no_bias", "one", None),
        ("no_gather", "tp2", None),
        ("scale_of_another_rank", "tp2", None),
        ("channels_in_one_run", "tp2", None),
        ("channels_not_summed", "tp2", None),
        ("parts_in_one_run", "tp2", None),
        ("norm_alone", "tp2", None),
        ("norm_of_another_run", "tp2", None),
        ("no_split_output", "sp2", 12),
        ("swapped_positions", "sp2", 12),
        ("no_padding_mask", "sp2-odd", 14),
        ("padding_of_one_stream", "sp2-odd", 14),
        ("mask_in_the_order_of_the_caller", "sp2", 8),
        ("mask_reordered_as_one_stream", "sp2", 8),
        ("mask_reordered_as_one_stream", "sp2-odd", 10),
        ("count_of_all_ranks", "sp2", 8),
    ],
)
def test_broken_twins_are_caught(results: dict[tuple[str, str], Any], twin: str, run: str, tokens: int | None) -> None:
    assert wrong(results[(twin, run)], tokens)
    assert not wrong(results[(TWINS[twin][0], run)], tokens)


def test_what_has_to_be_given_is_asked_for(results: dict[tuple[str, str], Any]) -> None:
    """A port that went on without it would attend to one rank's tokens in its place."""
    answer = results[("noted", "absent")]
    assert isinstance(answer, dict) and "context has to be given with sequence parallelism" in answer["error"]
    assert wrong(results[("tokens_in_place_of_others", "absent")])
    assert all("error" in rank for rank in ranks(results, "tokens_in_place_of_others", "absent"))


@pytest.mark.parametrize("twin", ["no_packing", "no_gather", "norm_of_another_run", "no_split_output"])
def test_twins_that_one_rank_cannot_see(results: dict[tuple[str, str], Any], twin: str) -> None:
    """Why parity on one rank is not enough."""
    assert not wrong(results[(twin, "one")])
