"""Where weights are read: state dictionaries, safetensors, pickles, and classes' own ``from_pretrained``."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.custom.code import nodes
from omniport.custom.facts import Facts, dotted
from omniport.custom.scopes import scopes
from omniport.custom.signals.score import Score
from omniport.plan.custom import Candidate

_CALLS = {
    "load_state_dict": 3, "load_checkpoint_and_dispatch": 4, "load_file": 3, "safe_open": 3, "from_single_file": 2,
    "load_checkpoint": 2, "load_sharded_checkpoint": 4,
}  # fmt: skip
_NOT = ("lora", "discriminator", "optimizer", "scheduler", "dataset", "ema_load")


def find(facts: Facts) -> Iterator[Candidate]:
    own = {name for file in facts.tree.files for name in file.classes}
    for file in facts.tree.files:
        if any(part in ("train", "training", "trainer", "eval", "tests", "callbacks") for part in file.parts):
            continue
        for name, body in scopes(file):
            score = Score("loader", name, file, body[0])
            for statement in body:
                for node in nodes(statement):
                    if isinstance(node, ast.Call):
                        _weigh(score, node, own)
            if score.total >= 2 and not any(word in name.lower() for word in _NOT):
                yield score.candidate()


def _weigh(score: Score, node: ast.Call, own: set[str]) -> None:
    called = dotted(node.func)
    owner, _, last = called.rpartition(".")
    if called in ("torch.load", "torch.jit.load"):
        score.add(3, f"calls {called}", node)
    elif last in _CALLS or called in _CALLS:
        score.add(_CALLS[last or called], f"calls {last or called}", node)
    elif last == "from_pretrained" and owner.rsplit(".", 1)[-1] in own:
        score.add(4, f"calls {called}, a class of the repository", node)
