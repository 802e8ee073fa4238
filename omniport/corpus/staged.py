"""The stage ``pp2`` of the corpus: a class over two stages of a pipeline, against the reference."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from omniport.verify import engine, over_stages
from omniport.verify.meter import block_lists
from omniport.verify.signatures import LEFT_OUT
from omniport.verify.tasks import flatten_output, the_references_own
from omniport.verify.transformers import TransformerCase, build_reference


def two_stages(
    build: Callable[[TransformerCase], nn.Module], reference: Any, cases: list[TransformerCase]
) -> dict[str, Any]:
    """Every call of every form: ``figure``, ``reason`` (empty if equal), ``detail``."""
    worst = 0.0
    problems: list[str] = []
    detail = ""
    for case in cases:
        with the_references_own(f"the reference ({case.variant})"), torch.inference_mode():
            model = build_reference(reference, case)
            ran = over_stages.count_runs({name: getattr(model, name) for name in block_lists(model)})
            given = {name: make(model) for name, make in case.calls.items()}
            expected = {name: flatten_output(model(**call, return_dict=False)) for name, call in given.items()}
            given = {name: make(model) for name, make in case.calls.items()}  # a reference may change its inputs
        ported = build(case)
        ported.load_weights(iter(model.state_dict().items()))  # type: ignore[operator]
        engine.finish_loading(ported)
        accepted = inspect.signature(ported.forward).parameters.keys()
        calls = {
            name: {k: v for k, v in call.items() if k in accepted or k not in LEFT_OUT} for name, call in given.items()
        }
        proof = over_stages.prove(ported, calls, expected, ran)
        worst = max(worst, proof.figure or 0.0)
        problems += [f"{case.variant}: {problem}" for problem in proof.problems]
        detail = detail or proof.detail
    return {"figure": worst, "reason": "; ".join(problems), "detail": detail}
