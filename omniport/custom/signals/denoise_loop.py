"""The denoising loop: steps over times, with a model call in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from omniport.custom.code import nodes
from omniport.custom.facts import Facts, dotted
from omniport.custom.scopes import scopes
from omniport.custom.signals.score import Score
from omniport.plan.custom import Candidate

_OVER = re.compile(
    r"timestep|sigmas?\b|num_steps|num_inference_steps|\bsteps\b|\bt_steps|sampling_steps|time_steps", re.I
)
_PREDICTS = re.compile(
    r"noise_?pred|velocity|v_pred|\bdt\b|pred_cond|eps_pred|model_output|pred_v|\bpred\b|\bz\b|x0", re.I
)
_MODEL = re.compile(r"(\A|\.)(\w*(model|transformer|dit|net|denoiser|func|unet|llm|denoise)\w*)\Z", re.I)
_SOLVERS = frozenset({"odeint", "solve_ivp", "sdeint"})


def find(facts: Facts) -> Iterator[Candidate]:
    for file in facts.tree.files:
        if any(
            p in ("train", "training", "trainer", "eval", "tests", "callbacks", "data", "datasets") for p in file.parts
        ):
            continue
        for name, body in scopes(file):
            score = Score("denoise loop", name, file, body[0])
            for statement in body:
                _weigh(score, statement)
            if score.total >= 5:
                yield score.candidate()


def _weigh(score: Score, statement: ast.stmt) -> None:
    for node in nodes(statement):
        if isinstance(node, ast.Call) and dotted(node.func).rsplit(".", 1)[-1] in _SOLVERS:
            score.add(5, f"integrates with {dotted(node.func)}", node)
        if not isinstance(node, ast.For):
            continue
        over = ast.unparse(node.iter)
        calls = [dotted(inner.func) for inner in nodes(node) if isinstance(inner, ast.Call)]
        if any(call.endswith(".backward") for call in calls):
            continue
        steps = any(call.endswith(".step") for call in calls)
        times = bool(_OVER.search(over))
        predicts = [
            target for inner in nodes(node) if isinstance(inner, ast.Assign) for target in inner.targets
            if _PREDICTS.search(ast.unparse(target))
        ]  # fmt: skip
        model = next((call for call in calls if _MODEL.search(call)), "")
        if not ((times or steps) and (predicts or steps) and model):
            continue
        if times:
            score.add(3, f"loops over {over[:60]}", node)
        if steps:
            score.add(2, "calls a scheduler's step", node)
        score.add(2, f"calls {model}", node)
        if predicts:
            score.add(1, f"assigns {ast.unparse(predicts[0])[:40]}", predicts[0])
