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
    needed = set(reads(*_ahead(second), *(a.value for a in second[1].call.args))) - bound(_ahead(second))
    if before & (needed | set(reads(second[0].test))) or set(NAMES) & bound(block):
        return None
    kwargs = [entries(made) for _, made in (first, second)]
    if any(k is None for k in kwargs):
        return None
    collected = [
        f"if {code(one[0].test)}:\n    branches.append(\n        {{\n{_lines(given or {})}        }}\n    )\n"
        for one, given in zip((first, second), kwargs, strict=True)
    ]
    call = (
        "predictions = []\nif branches:\n    predictions = self.predict_noise_with_multi_branch_cfg(\n"
        "        do_true_cfg=True,\n        true_cfg_scale=1.0,\n        branches_kwargs=branches,\n    )\n"
    )
    text = "# Neither prediction reads the other: each rank makes one of the two.\n"
    start = parse(f"pass\n{text}branches = []\n{''.join(collected)}{call}")[1:]  # the comment stays with its statement
    for index, one in enumerate((first, second), 1):
        choice = start[index]
        assert isinstance(choice, cst.If)
        start[index] = changed(choice, body=indented([*_ahead(one), *suite(choice.body)]))
    new = [
        _taken(node, made, applied(made.wrap, f"predictions[{index}]"))
        for (node, made), index in ((first, 0), (second, -1))
    ]
    between = block[places[0] + 1 : places[1]]
    return [*block[: places[0]], *start, new[0], *between, new[1], *block[places[1] + 1 :]]


def _guarded(node: cst.CSTNode, names: frozenset[str]) -> tuple[cst.If, Prediction] | None:
    """An ``if`` whose body makes one prediction, and reads after it nothing that it bound before."""
    if not isinstance(node, cst.If) or len(denoiser_calls(node, names)) != 1:
        return None
    body = suite(node.body)
    place = next((i for i, s in enumerate(body) if denoiser_calls(s, names)), None)
    made = prediction(place, body[place], names) if place is not None else None
    if made is None or bound(body[: made.index]) & set(reads(*body[made.index + 1 :])):
        return None
    return node, made


def _ahead(one: tuple[cst.If, Prediction]) -> Block:
    """The statements before the prediction."""
    return suite(one[0].body)[: one[1].index]


def _taken(node: cst.If, made: Prediction, value: str) -> cst.If:
    body = suite(node.body)
    line = parse(f"{made.name} = {value}\n")[0]
    return changed(node, body=indented([line, *body[made.index + 1 :]], node.body))


def _lines(given: dict[str, str]) -> str:
    return "".join(f'            "{key}": {value},\n' for key, value in given.items())
