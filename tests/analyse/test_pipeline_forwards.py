"""How many forwards a step makes: one, two, or a reason why no cache can count them."""

from __future__ import annotations

import libcst as cst
import pytest

from omniport.analyse.pipeline_forwards import (
    AGAIN,
    BESIDES,
    NONE,
    ONE,
    OTHER,
    SEVERAL,
    TWO,
    UNLIKE,
    WITHIN,
    Forwards,
    cached_as_counted,
    count_branches,
    count_forwards,
)
from omniport.plan.model import (
    BlockListPlan,
    Decision,
    FeaturePlan,
    PipelinePlan,
    Scalar,
    TransformerPlan,
    Why,
)
from omniport.plan.subjects import FORWARDS
from omniport.rewrite.pipeline.denoiser import Denoisers

DENOISERS = Denoisers((("self.transformer", ("x",)), ("self.other", ("x",))))


def counted(body: str, helper: str = "", **defaults: Scalar) -> Forwards:
    text = "def __call__(self, latents, scale, skip):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    methods = [cst.parse_statement(f"def {helper}(self, x):\n    return self.transformer(x)\n")] if helper else []
    return count_forwards(cst.parse_statement(text), methods, DENOISERS, defaults)  # type: ignore[arg-type]


def steps(*lines: str) -> str:
    return "\n".join(["for i, t in enumerate(timesteps):", *(f"    {line}" for line in lines)])


PAIR = ("p = self.transformer(latents, t)", "if do_cfg:", "    n = self.transformer(latents, t)")


def test_one_forward_a_step() -> None:
    assert counted(steps("p = self.transformer(latents, t)")) == Forwards(1, ONE)
    assert counted("p = self.transformer(latents)") == Forwards(1, ONE)
    assert counted(
        steps("if scale > 1:", "    p = self.transformer(t)", "else:", "    p = self.transformer(t, 1)")
    ) == (Forwards(1, ONE))


def test_two_forwards_a_step() -> None:
    assert counted(steps(*PAIR)) == Forwards(2, TWO)
    assert counted(
        "with bar:\n    for t in timesteps:\n        a = self.transformer(t)\n        b = self.transformer(t)"
    )[:2] == (2, TWO)


def test_a_condition_that_every_step_makes_of_the_same_is_the_same_in_every_step() -> None:
    assert counted(steps("do_cfg = scale > 1", "own = do_cfg and skip", *PAIR[:1], "if own:", PAIR[2])).number == 2


def test_one_denoiser_for_each_branch_makes_one_forward_of_each() -> None:
    found = counted(steps("p = self.transformer(latents, t)", "n = self.other(latents, t)"))
    assert found == Forwards(1, f"{ONE}, each of self.transformer, self.other")


def test_denoisers_that_run_differently_often_are_refused() -> None:
    found = counted(steps(*PAIR, "m = self.other(latents, t)"))
    assert found.number is None and "self.transformer 2, self.other 1" in found.reason


@pytest.mark.parametrize(
    "condition",
    [
        ("go = t < 0.5", "if go:"),
        ("part = i / 10", "go = scale > 1 and part < 0.5", "if go:"),
        ("if i > 2:", "    go = False", "if go:"),
        ("if do_cfg and i > 2:",),
        ("if latents is not None:",),
    ],
)
def test_a_branch_that_only_some_steps_run_is_refused(condition: tuple[str, ...]) -> None:
    found = counted(steps("p = self.transformer(latents, t)", *condition, PAIR[2], "latents = step(p, latents)"))
    assert found.number is None
    assert found.reason == UNLIKE.format(found.at) and found.at == condition[-1][3:-1]


def test_a_condition_that_a_step_changes_for_the_next_one_is_refused() -> None:
    found = counted(steps("if first:", PAIR[2], "first = False"))
    assert found.number is None and found.at == "first"


SOME = steps(*PAIR, "if skip is not None and i > 2:", "    s = self.transformer(latents, t)")


def test_steps_that_differ_by_an_argument_are_counted_at_its_default() -> None:
    found = counted(SOME, skip=None)
    assert found.number == 2 and found.reason == TWO and found.needs == (("skip", None),)
    assert found.at == "skip is not None and i > 2" and found.otherwise == UNLIKE.format(found.at)
    assert counted(steps(*PAIR, "if skip:", "    s = self.transformer(t)"), skip=0.0).needs == (("skip", 0.0),)


def test_arguments_that_do_not_matter_are_not_needed() -> None:
    assert counted(SOME, scale=1.0, skip=None).needs == (("skip", None),)
    assert counted(steps(*PAIR), scale=1.0, skip=None).needs == ()
    assert counted(steps(PAIR[0], "if scale > 1:", PAIR[2]), scale=1.0).needs == (), "the same in all steps"


def test_a_default_at_which_steps_differ_does_not_help() -> None:
    assert counted(SOME, skip=[0]) == counted(SOME) and counted(SOME).number is None  # type: ignore[arg-type]
    assert counted(SOME, scale=1.0) == counted(SOME)


def test_a_loop_that_runs_again_is_refused_at_every_default() -> None:
    inner = "\n".join(f"    {line}" for line in SOME.splitlines())
    assert counted(f"for chunk in chunks:\n{inner}", skip=None) == Forwards(None, AGAIN)


def test_calls_of_the_steps_that_differ_are_refused() -> None:
    found = counted(steps("if i == 0:", "    p = self.transformer(both)", "else:", "    p = self.transformer(one)"))
    assert found == Forwards(None, OTHER.format("i == 0"), "i == 0")


@pytest.mark.parametrize(
    "lines",
    [
        (PAIR[0], "if t > 1:", "    continue", *PAIR[1:]),
        (PAIR[0], "with bar:", "    if i < 3:", "        continue", *PAIR[1:]),
        (PAIR[0], "if scale:", "    if i < 3:", "        continue", *PAIR[1:]),
        (PAIR[0], "if scale:", "    pass", "elif i < 3:", "    continue", *PAIR[1:]),
        ("with bar:", f"    {PAIR[0]}", "    if i < 3:", "        continue", *PAIR[1:]),
        ("if i < 3:", f"    {PAIR[0]}", "    continue", *PAIR),
    ],
)
def test_a_step_that_ends_early_is_unlike_the_others(lines: tuple[str, ...]) -> None:
    found = counted(steps(*lines))
    assert found.number is None and found.reason == UNLIKE.format(found.at)
    assert found.at in ("i < 3", "t > 1")


@pytest.mark.parametrize(
    ("lines", "number"),
    [
        ((*PAIR, "if i < 3:", "    continue", "latents = step(p)"), 2),
        (("if i < 3:", "    continue", *PAIR), 2),  # a step without any is none to cache-dit
        (("if i < 3:", "    pass", "elif t:", "    continue", *PAIR), 2),
        (("if skip:", "    continue", *PAIR), 2),
        (("if skip:", "    p = self.transformer(t)", "    continue", *PAIR), 2),
        (("for k in range(3):", "    if i < k:", "        continue", *PAIR), 2),
        (("if i > 3:", "    break", *PAIR), 2),
        (("p = self.transformer(t)", "if skip:", "    continue", "n = self.transformer(t)"), 2),
    ],
)
def test_steps_that_end_alike_are_counted(lines: tuple[str, ...], number: int) -> None:
    assert counted(steps(*lines)).number == number


def test_steps_that_end_early_by_an_argument_are_counted_at_its_default() -> None:
    found = counted(steps(PAIR[0], "if skip is not None and i in skip:", "    continue", *PAIR[1:]), skip=None)
    assert found.number == 2 and found.needs == (("skip", None),)
    assert counted(steps("if skip is None:", "    continue", *PAIR), skip=None).needs == ()
    at = "skip is None and i > 3"
    assert counted(steps(PAIR[0], f"if {at}:", "    continue", *PAIR[1:]), skip=None).reason == UNLIKE.format(at)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("p = [self.transformer(x) for x in latents]", "comprehension"),
        ("p = self.transformer(t) if scale else None", "conditional expression"),
        ("p = scale and self.transformer(t)", "boolean operation"),
        ("p = apply(lambda x: self.transformer(x))", "lambda"),
        ("if self.transformer(t):\n    pass", "if's head"),
        ("for x in self.transformer(t):\n    pass", "for's head"),
        ("def ask(x):\n    return self.transformer(x)", "function"),
    ],
)
def test_a_call_of_which_no_statement_says_how_often_it_runs_is_refused(line: str, what: str) -> None:
    assert counted(steps(*line.splitlines())).reason == WITHIN.format(what)
    assert counted(steps(*line.splitlines(), PAIR[0])).reason == WITHIN.format(what)
    assert counted(line + "\n" + steps(PAIR[0])).number is None


def test_no_forward_is_refused() -> None:
    assert counted(steps("p = step(latents)")) == Forwards(None, NONE)
    assert counted(steps("if skip is not None:", *(f"    {p}" for p in PAIR)), skip=None).number == 2


def test_more_than_two_forwards_are_refused() -> None:
    found = counted(steps(*PAIR, "if skip:", "    s = self.transformer(latents, t)"))
    assert found == Forwards(None, SEVERAL.format(3), site=2)


def test_forwards_before_the_steps_are_refused() -> None:
    loop = steps(*PAIR)
    found = counted(f"if image is not None:\n    for one in image:\n        self.transformer(one)\n{loop}")
    assert found == Forwards(None, BESIDES.format(", if image is not None"), "image is not None")
    assert counted(f"first = self.transformer(latents)\n{loop}").reason == BESIDES.format("")
    assert counted(f"{loop}\n{loop}").reason == BESIDES.format("")
    assert counted(loop, helper="warm") == Forwards(None, BESIDES.format(", in warm"), method="warm")


def test_steps_that_run_again_are_refused() -> None:
    inner = "\n".join(f"    {line}" for line in steps(*PAIR).splitlines())
    assert counted(f"for chunk in chunks:\n{inner}") == Forwards(None, AGAIN)


def test_a_guider_says_how_many() -> None:
    assert count_branches(2).number == 2 and count_branches(1).number == 1
    assert count_branches(3) == Forwards(None, SEVERAL.format(3))
    assert count_branches(0).number is None and "does not say" in count_branches(0).reason


def pipeline(value: Scalar) -> PipelinePlan:
    decision = Decision(FORWARDS, value, Why("the loop", "pipeline.py", 7))
    return PipelinePlan("P", "p", "image", (), (), "sequential", (), None, None, (decision,))


def transformer(supported: bool = True) -> TransformerPlan:
    none: tuple[()] = ()
    blocks = (BlockListPlan("blocks", "Block", 3, Why("a loop"), cache="stack"),)
    features = (FeaturePlan("cache-dit", supported, Why("a loop")), FeaturePlan("hsdp", True, Why("a list")))
    return TransformerPlan("T", "", none, none, none, none, none, none, none, none, blocks, features, none)


def test_a_cache_that_cannot_count_is_left_out_with_the_reason() -> None:
    made = cached_as_counted(transformer(), pipeline(None))
    assert [b.cache for b in made.blocks] == [""]
    assert made.features[0] == FeaturePlan("cache-dit", False, Why("the loop", "pipeline.py", 7))
    assert made.features[1].supported
    refused = cached_as_counted(transformer(False), pipeline(None))
    assert refused.features[0].why.reason == "a loop", "what was refused before keeps its reason"


@pytest.mark.parametrize(("value", "separate"), [(1, False), (2, True), (None, False)])
def test_the_claim_is_what_was_counted(value: Scalar, separate: bool) -> None:
    assert pipeline(value).separate_cfg is separate
    if value is not None:
        assert cached_as_counted(transformer(), pipeline(value)) == transformer()
