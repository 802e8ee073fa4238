"""What stands before and behind the model: transforms of inputs, and how decoded values become a picture or a file."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.custom.code import nodes
from omniport.custom.facts import Facts
from omniport.custom.scopes import scopes
from omniport.custom.signals.score import Score
from omniport.plan.custom import Candidate

_TRANSFORMS = frozenset({"Compose", "Resize", "CenterCrop", "Normalize", "ToTensor"})
_SAVES = frozenset({"save_video", "write_video", "export_to_video", "cache_video", "write_wav", "write_wave"})
_SCALES = frozenset({127.5, 255})


def find(facts: Facts) -> Iterator[Candidate]:
    for file in facts.tree.files:
        if any(part in ("train", "training", "trainer", "eval", "tests", "datasets") for part in file.parts):
            continue
        for name, body in scopes(file):
            score = Score("pre and post", name, file, body[0])
            for node in (n for statement in body for n in nodes(statement)):
                _weigh(score, node)
            if score.total >= 3:
                yield score.candidate()


def _weigh(score: Score, node: ast.AST) -> None:
    if isinstance(node, ast.Call):
        last = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if last in _TRANSFORMS:
            score.add(2, f"calls {last}", node)
        elif last in _SAVES:
            score.add(3, f"calls {last}", node)
        elif last in ("clamp", "clip", "clamp_"):
            score.add(1, f"calls {last}", node)
        elif last == "fromarray":
            score.add(2, "makes a picture of an array", node)
        elif last in ("mul", "mul_") and node.args and _scale(node.args[0]):
            score.add(2, "scales to bytes", node)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and (_scale(node.left) or _scale(node.right)):
        score.add(2, "scales to bytes", node)


def _scale(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float) and node.value in _SCALES
