"""A third prediction of a round, guarded as the second is, in one call of the mixin for all of them.

Perturbed attention guidance makes it of the positive arguments, with the blocks to perturb.  It reads neither of the
other predictions, so that ranks can share all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import libcst as cst

from omniport.records import dataclass
from omniport.rewrite.pipeline.blocks import Block, bound, changed, indented, parse, reads, suite
from omniport.rewrite.pipeline.denoiser import Form, Prediction, denoiser_calls, prediction
from omniport.source.syntax import code

NAMES = ("branches", "predictions")  # that the port adds


@dataclass(frozen=True)
class Third:
    """``node`` is the statement at ``place`` of a block that makes the prediction ``made``.

    ``ahead`` is what stands before that in it, ``given`` its arguments by name, as source.
    """

    place: int
    node: cst.If
    made: Prediction
    ahead: Block
    given: Mapping[str, str]


def third(
    rest: Block,
    names: frozenset[str],
    form: Form,
    taken: set[str],
    entries: Callable[[Prediction], dict[str, str] | None],
) -> Third | None:
    """The only prediction of ``rest``, if it is guarded and can be made with the first two of the round.

    Args:
        rest: what follows the first two.
        names: the denoisers.
        form: of the first two.
        taken: what they and the statements between them and ``rest`` bind.
        entries: arguments of a call by name, as source; None if one has no name.
    """
    places = [i for i, s in enumerate(rest) if denoiser_calls(s, names)]
    node = rest[places[0]] if len(places) == 1 else None
    if not isinstance(node, cst.If) or node.orelse is not None:
        return None
    body = suite(node.body)
    at = next((i for i, s in enumerate(body) if denoiser_calls(s, names)), None)
    made = prediction(at, body[at], names) if at is not None else None
    if made is None or made.form != form or len(denoiser_calls(node, names)) != 1:
        return None
    ahead, given = body[: made.index], entries(made)
    needed = set(reads(node.test, *ahead, *(a.value for a in made.call.args))) - bound(ahead)
    if (
        given is None
        or needed & (taken | bound(rest[: places[0]]))
        or bound(ahead) & set(reads(*body[made.index + 1 :]))
    ):
        return None
    return None if set(NAMES) & (taken | bound(rest)) else Third(places[0], node, made, ahead, given)


def call_of_all(found: Third, positive: Mapping[str, str], negative: Block, entries: str, guard: str) -> Block:
    """Statements that collect the branches and make the call.

    Args:
        found: the third prediction.
        positive: arguments of the first one, which the statements before hold as ``positive_kwargs``.
        negative: what the second one's arguments need.
        entries: these, as a dict.
        guard: condition of the second one.
    """
    branches, predictions = NAMES
    more = {k: v for k, v in found.given.items() if positive.get(k) != v}
    short = positive.keys() <= found.given.keys()
    own = "**positive_kwargs, " + ", ".join(f'"{k}": {v}' for k, v in more.items()) if short else ""
    own = own or ", ".join(f'"{k}": {v}' for k, v in found.given.items())
    lines = parse(
        f"{branches} = [positive_kwargs]\n"
        f"if {guard}:\n    {branches}.append({entries})\n"
        f"if {code(found.node.test)}:\n    {branches}.append({{{own}}})\n"
        f"{predictions} = self.predict_noise_with_multi_branch_cfg(\n"
        f"    do_true_cfg=True,\n    true_cfg_scale=1.0,\n    branches_kwargs={branches},\n)\n"
    )
    for index, before in ((1, negative), (2, found.ahead)):
        choice = lines[index]
        assert isinstance(choice, cst.If)
        lines[index] = changed(choice, body=indented([*before, *suite(choice.body)]))
    return lines


def taken_last(rest: Block, found: Third, value: str) -> Block:
    """``rest`` with ``value`` in the place of the third prediction."""
    body = suite(found.node.body)
    line = parse(f"{found.made.name} = {value}\n")[0]
    node = changed(found.node, body=indented([line, *body[found.made.index + 1 :]], found.node.body))
    return [*rest[: found.place], node, *rest[found.place + 1 :]]
