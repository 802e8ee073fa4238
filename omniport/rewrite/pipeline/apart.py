"""Two more predictions of a round, each under a condition of its own, as the branches of one call of the mixin.

LTX-2 guides by perturbed blocks and by isolated modalities beside the negative prompt.  Neither prediction reads the
other, so that two ranks can share them as they share the first pair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import libcst as cst

from omniport.rewrite.pipeline.blocks import Block, bound, changed, indented, parse, reads, suite
from omniport.rewrite.pipeline.denoiser import Form, Prediction, denoiser_calls, prediction
from omniport.source.syntax import code

NAMES = ("branches", "predictions")  # that the port adds


def joined_apart(
    block: Block,
    places: Sequence[int],
    names: frozenset[str],
    form: Form,
    entries: Callable[[Prediction], dict[str, str] | None],
    applied: Callable[[str, str], str],
) -> Block | None:
    """``block`` with its two guarded predictions made by one call; None where it holds anything else.

    Args:
        block: statements of the round.
        places: those that hold a denoiser call.
        names: the denoisers.
        form: of the round's first pair, whose predictions go through the same method.
        entries: arguments of a call by name, as source; None if one has no name.
        applied: ``wrap`` of a prediction with a name in the place of the result.
    """
    if len(places) != 2:
        return None
    found = [_guarded(block[place], names) for place in places]
    first, second = found
    if first is None or second is None or first[1].form != form or second[1].form != form:
        return None
    before = bound(block[places[0] : places[1]])
    arguments = [a.value for a in second[1].call.args]
    if before & set(reads(second[0].test, *arguments)) or set(NAMES) & bound(block):
        return None
    kwargs = [entries(made) for _, made in (first, second)]
    if any(k is None for k in kwargs):
        return None
    collected = [
        f"if {code(node.test)}:\n    branches.append(\n        {{\n{_lines(given or {})}        }}\n    )\n"
        for (node, _), given in zip((first, second), kwargs, strict=True)
    ]
    call = (
        "predictions = []\nif branches:\n    predictions = self.predict_noise_with_multi_branch_cfg(\n"
        "        do_true_cfg=True,\n        true_cfg_scale=1.0,\n        branches_kwargs=branches,\n    )\n"
    )
    text = "# Neither prediction reads the other: each rank makes one of the two.\n"
    start = parse(f"pass\n{text}branches = []\n{''.join(collected)}{call}")[1:]  # the comment stays with its statement
    new = [
        _taken(node, made, applied(made.wrap, f"predictions[{index}]"))
        for (node, made), index in ((first, 0), (second, -1))
    ]
    between = block[places[0] + 1 : places[1]]
    return [*block[: places[0]], *start, new[0], *between, new[1], *block[places[1] + 1 :]]


def _guarded(node: cst.CSTNode, names: frozenset[str]) -> tuple[cst.If, Prediction] | None:
    """An ``if`` whose body begins with a prediction and has no other."""
    if not isinstance(node, cst.If):
        return None
    body = suite(node.body)
    made = prediction(0, body[0], names)
    return (node, made) if made is not None and len(denoiser_calls(node, names)) == 1 else None


def _taken(node: cst.If, made: Prediction, value: str) -> cst.If:
    body = suite(node.body)
    line = parse(f"{made.name} = {value}\n")[0]
    return changed(node, body=indented([line, *body[1:]], node.body))


def _lines(given: dict[str, str]) -> str:
    return "".join(f'            "{key}": {value},\n' for key, value in given.items())
