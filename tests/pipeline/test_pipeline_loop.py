"""The denoising: its progress bar, its pairs of predictions, and what is left as it is."""

from __future__ import annotations

import textwrap

import pytest

from omniport.analyse.pipeline_loop import find_span
from omniport.errors import UnsupportedError
from omniport.plan.model import Decision, PipelinePlan, Why
from omniport.rewrite.pipeline.denoiser import Denoisers, without_samples
from omniport.rewrite.pipeline.guidance import Guided, doubling, guided
from omniport.rewrite.pipeline.loop import split_loop
from omniport.rewrite.pipeline.progress import iterate_with_bar
from tests.pipeline.helpers import block, function, text


def with_bar(body: str, iterated: str = "enumerate(ts)", target: str = "i, t") -> str:
    inner = textwrap.indent(body, "        ")
    return f"with self.progress_bar(total=n) as bar:\n    for {target} in {iterated}:\n{inner}\n"


def test_bar_is_iterated_over() -> None:
    source = with_bar("x = step(x, t)\nif i == len(ts) - 1:\n    bar.update()")
    assert text(iterate_with_bar(block(source))) == "for t in self.progress_bar(ts):\n    x = step(x, t)\n"


def test_bar_keeps_a_counter_that_is_used() -> None:
    source = with_bar("x = step(x, i)\nbar.update()")
    assert "for i, t in enumerate(self.progress_bar(ts)):" in text(iterate_with_bar(block(source)))


@pytest.mark.parametrize(
    "source",
    [
        with_bar("x = step(x)\nbar.set_postfix(x)\nbar.update()"),
        with_bar("x = step(x)"),
        with_bar("x = step(x)\nbar.update(2)"),
        with_bar("x = step(x)\nif call():\n    bar.update()"),
        with_bar("x = step(x)\nbar.update()", iterated="enumerate(zip(a, b))"),
        "with self.progress_bar(total=n) as bar:\n    a()\n    for t in ts:\n        bar.update()\n",
        "with other(n) as bar:\n    for t in ts:\n        a()\n        bar.update()\n",
        "for t in ts:\n    a()\n",
    ],
)
def test_other_bars_stay(source: str) -> None:
    assert text(iterate_with_bar(block(source))) == source


def entry(combine: str = "pred = neg + scale * (pred - neg)", between: str = "", before: str = "") -> str:
    return (
        textwrap.dedent(
            """
        def __call__(self, latents: torch.Tensor, ts, scale: float):
            guided = scale > 1
            if guided:
                negative = encode()
            positive = encode()
            # 5. Denoise
            self.scheduler.set_begin_index(0)
            for t in self.progress_bar(ts):
                BEFORE
                pred = self.transformer(hidden_states=latents, cond=positive, attention_kwargs=None)[0]
                BETWEEN
                if guided:
                    neg = self.transformer(hidden_states=latents, cond=negative, attention_kwargs=None)[0]
                    COMBINE
                # step
                latents = self.scheduler.step(pred, t, latents, return_dict=False)[0]
            return Output(images=latents)
        """
        )
        .replace("BEFORE", before or "pass")
        .replace("BETWEEN", between or "pass")
        .replace("COMBINE", combine)
    )


ONE = Denoisers((("self.transformer", ("x", "t", "cond", "return_dict")),))
TWO = Denoisers((("self.transformer", ("x",)), ("self.transformer_2", ("x",))))


def formed(source: str, denoisers: Denoisers = ONE) -> Guided:
    return guided(function(source), denoisers)


def plan(arguments: str = "ts, latents, positive, guided, negative, scale") -> PipelinePlan:
    why = Why("test")
    decisions = [
        Decision("diffuse arguments", arguments, why),
        Decision("diffuse results", "latents", why),
    ]
    return PipelinePlan("P", "m", "image", (), (), "sequential", (), None, None, tuple(decisions))


def split(source: str) -> tuple[str, str]:
    new, diffuse = split_loop(formed(source).entry, plan(), ONE)
    return text([new]), text([diffuse])


def body(source: str, denoisers: Denoisers = ONE) -> str:
    """The statements of a call with its pairs formed."""
    head = "def __call__(self, latents):\n"
    return text([formed(head + textwrap.indent(source, "    ") + "\n", denoisers).entry])


def test_pair_goes_through_the_mixin_when_the_formula_is_its_own() -> None:
    new, diffuse = split(entry())
    assert "self.transformer(" not in diffuse
    assert '"cond": positive' in diffuse and '"cond": negative' in diffuse
    assert "attention_kwargs" not in diffuse
    assert '"return_dict": False' in diffuse
    assert "cfg_normalize=False" in diffuse
    assert "neg + scale" not in diffuse and "true_cfg_scale=scale" in diffuse
    assert "latents = self.scheduler_step_maybe_with_cfg(pred, t, latents, guided)" in diffuse
    assert "self.scheduler.set_begin_index(0)" in diffuse
    assert diffuse.index("# step") < diffuse.index("scheduler_step_maybe")


def test_name_bound_in_a_branch_only_is_bound_before_it() -> None:
    new, _ = split(entry())
    assert new.index("negative = None") < new.index("if guided:") < new.index("negative=negative")
    assert new.index("# 5. Denoise") < new.index("self.diffuse(")


def test_annotations_of_arguments_reach_diffuse() -> None:
    _, diffuse = split(entry())
    assert "latents: torch.Tensor" in diffuse and "guided: bool" in diffuse and "-> torch.Tensor" in diffuse


@pytest.mark.parametrize(
    ("given", "annotation"),
    [
        ("scale: float = None", ": float | None"),
        ("scale: float | None = None", ": float | None"),
        ("scale: float = 1.0", ": float"),
        ("scale: float", ": float"),
    ],
)
def test_an_argument_that_is_none_by_default_may_be_none(given: str, annotation: str) -> None:
    _, diffuse = split(entry().replace("scale: float", given))
    assert f"    scale{annotation},\n" in diffuse


@pytest.mark.parametrize(
    ("line", "annotation"),
    [
        ("timesteps, n = retrieve_timesteps(ts)", ": torch.Tensor"),
        ("timesteps = self.scheduler.timesteps", ": torch.Tensor"),
        (
            "if ts:\n        timesteps = self.scheduler.timesteps\n    else:\n        timesteps = ts",
            ": list[int] | None",
        ),
        ("timesteps = ts", ": list[int] | None"),
    ],
)
def test_times_of_the_scheduler_are_a_tensor(line: str, annotation: str) -> None:
    source = entry().replace("scale: float)", "scale: float, timesteps: list[int] = None)")
    source = source.replace("    positive = encode()", f"    positive = encode()\n    {line}").replace(
        "in ts", "in timesteps"
    )
    arguments = "timesteps, latents, positive, guided, negative, scale"
    _, diffuse = split_loop(formed(source).entry, plan(arguments), ONE)
    assert f"    timesteps{annotation},\n" in text([diffuse])


@pytest.mark.parametrize(
    ("line", "annotation"),
    [
        ("latents = self.prepare(latents)", "torch.Tensor"),
        ("latents, n = self.prepare(latents)", "torch.Tensor"),
        ("n = self.prepare(latents)", "torch.Tensor | None"),
        ("if guided:\n        latents = self.prepare(latents)", "torch.Tensor | None"),
    ],
)
def test_what_is_made_ahead_of_the_loop_is_there(line: str, annotation: str) -> None:
    source = entry().replace("latents: torch.Tensor", "latents: torch.Tensor | None")
    source = source.replace("    positive = encode()", f"    positive = encode()\n    {line}")
    _, diffuse = split(source)
    assert f"    latents: {annotation},\n" in diffuse


@pytest.mark.parametrize(
    ("line", "annotation"),
    [
        ("positive = scale", ": float"),
        ("positive = scale * 2", ""),
        ("positive = other", ""),
        ("positive = scale\n    positive = encode()", ""),
        ("if guided:\n        positive = scale", ""),
        ("scale = encode()\n    positive = scale", ""),  # no parameter any more
    ],
)
def test_a_copy_of_an_argument_has_its_annotation(line: str, annotation: str) -> None:
    _, diffuse = split(entry().replace("    positive = encode()", f"    {line}"))
    assert f"    positive{annotation},\n" in diffuse


@pytest.mark.parametrize(
    "combine",
    [
        "pred = pred + scale * (pred - neg)",
        "pred = neg + scale * (neg - pred)",
        "pred = neg - scale * (pred - neg)",
        "pred = neg + scale(pred) * (pred - neg)",
        "pred = rescale(neg + scale * (pred - neg), pred)",
        "other = neg + scale * (pred - neg)",
    ],
)
def test_any_other_formula_is_kept_as_it_is(combine: str) -> None:
    source = entry(combine)
    assert [p.combine for p in formed(source).pairs] == ["own"]
    _, diffuse = split(source)
    assert combine in diffuse and "pred, neg = pred" in diffuse
    assert diffuse.index("predict_noise_maybe_with_cfg") < diffuse.index("pred, neg = pred") < diffuse.index(combine)


def test_factor_on_the_right_is_the_same_formula() -> None:
    (pair,) = formed(entry("pred = neg + (pred - neg) * scale")).pairs
    assert (pair.combine, pair.scale, pair.guard) == ("default", "scale", "guided")


def test_statement_between_moves_up_unless_it_needs_the_prediction() -> None:
    _, diffuse = split(entry(between="mask = make(t)"))
    assert diffuse.index("mask = make(t)") < diffuse.index("negative_kwargs")
    _, diffuse = split(entry(between="pred = pred.float()"))
    assert diffuse.index("predict_noise_maybe_with_cfg") < diffuse.index("pred = pred.float()")


def test_work_on_the_prediction_before_the_formula_makes_it_another_formula() -> None:
    assert formed(entry(between="pred = pred.float()")).pairs[0].combine == "own"


@pytest.mark.parametrize(
    "step",
    [
        "latents = self.scheduler.step(pred, t, latents, **extra, return_dict=False)[0]",
        "latents = self.scheduler.step(pred, t, latents).prev_sample",
        "latents = self.scheduler.step(pred, t, latents, generator=g, return_dict=False)[0]",
        "latents = self.scheduler.step(pred, t, other, return_dict=False)[0]",
        "latents, old = self.scheduler.step(pred, t, latents, return_dict=False)",
    ],
)
def test_other_steps_stay(step: str) -> None:
    source = entry().replace("latents = self.scheduler.step(pred, t, latents, return_dict=False)[0]", step)
    assert not formed(source).pairs[0].stepped
    _, diffuse = split(source)
    assert step in diffuse and "scheduler_step_maybe_with_cfg" not in diffuse


CALL = "self.transformer(x=latents)[0]"
PAIR = f"pred = {CALL}\nif guided:\n    neg = {CALL}\n    pred = other(pred, neg)"


@pytest.mark.parametrize(
    "source",
    [
        f"for t in ts:\n    pred = {CALL}",
        f"for t in ts:\n    a = {CALL}\n    b = {CALL}",
        f"for t in ts:\n    a = {CALL}\n    if c:\n        b = {CALL}\n    else:\n        b = {CALL}",
        f"for t in ts:\n    a = {CALL}\n    if c:\n        if d:\n            b = {CALL}",
        f"for t in ts:\n    a = {CALL}\n    if c:\n        b = self.transformer(x=a)[0]",
        f"for t in ts:\n    a = {CALL}\n    y = f(a)\n    if c:\n        b = self.transformer(x=y)[0]",
        f"for t in ts:\n    a = {CALL}\n    if c:\n        b = self.transformer(x=latents)",
        "for t in ts:\n    a = self.transformer(**inputs)[0]\n    if c:\n        b = self.transformer(x=latents)[0]",
        "for t in ts:\n    a = self.transformer(p, q, r, s, v)[0]\n    if c:\n        b = self.transformer(x=q)[0]",
    ],
)
def test_what_is_no_pair_stays_as_it_is(source: str) -> None:
    whole = "def __call__(self, latents):\n" + textwrap.indent(source, "    ") + "\n"
    found = formed(whole)
    assert not found.pairs and found.single == source.count("self.transformer(")
    assert text([found.entry]) == text([function(whole)])
    assert (
        text([found.entry]).split()
        == text([function("def __call__(self, latents):\n" + textwrap.indent(source, "    ") + "\n")]).split()
    )


def test_a_pair_is_found_in_inner_blocks() -> None:
    for head in ("while go:\n", "with bar:\n    for t in ts:\n", "for c in chunks:\n    if c:\n        for t in ts:\n"):
        depth = "    " * head.count("\n")
        assert "predict_noise_maybe_with_cfg" in body(head + textwrap.indent(PAIR, depth))


def test_positional_arguments_get_their_names() -> None:
    found = body("pred = self.transformer(a, b, return_dict=False)[0]\nif g:\n    neg = self.transformer(c, d)[0]")
    assert '"x": a' in found and '"t": b' in found and '"x": c' in found and '"t": d' in found


def test_work_on_the_results_follows_the_call() -> None:
    first = "pred = self.transformer(x=a)[0].float()\n"
    calls = first + "if g:\n    neg = self.transformer(x=b)[0].float()\n    pred = f(pred, neg)"
    found = body(calls)
    assert "neg = negative_prediction.float()" in found and "pred = prediction.float()" in found
    assert found.index("pred = prediction.float()") < found.index("pred = f(pred, neg)")


def test_several_results_are_unpacked_on_each_side() -> None:
    first = "a, b = self.transformer(x=p, return_dict=False)\n"
    found = body(first + "if g:\n    c, d = self.transformer(x=q, return_dict=False)")
    assert "prediction, negative_prediction = prediction" in found
    assert "c, d = negative_prediction" in found and "a, b = prediction" in found


@pytest.mark.parametrize(
    ("first", "use"),
    [
        ("a, b = self.transformer(x=p, return_dict=False)\n", "f(a, b)"),
        ("a = self.transformer(x=p)[0]\n", "f(a)"),
    ],
)
def test_names_that_both_predictions_take_are_not_overwritten_early(first: str, use: str) -> None:
    second = textwrap.indent(first.replace("=p", "=q"), "    ")
    found = body(f"{first}own = {use}\nif g:\n{second}    other = {use}\n    own = other + s * (own - other)")
    lines = [line.strip() for line in found.splitlines()]
    target = first.split(" =")[0]
    kept, mine = lines.index(f"{target} = prediction"), lines.index(f"own = {use}")
    other, his = lines.index(f"{target} = negative_prediction"), lines.index(f"other = {use}")
    assert kept < mine < other < his


APART = """
pred = self.transformer(x=p)[0]
if g:
    neg = self.transformer(x=q)[0]
    pred = f(pred, neg)
if h:
    other = self.transformer(x=r)[0].float()
    first = w * (pred - other)
else:
    first = 0
if k:
    third = self.transformer(x=s)[0].float()
    second = w * (pred - third)
latents = step(pred + first + second)
"""


def test_two_more_predictions_under_conditions_are_branches_of_one_call() -> None:
    found = body(APART)
    assert found.count("predict_noise_with_multi_branch_cfg(") == 1 and "self.transformer(" not in found
    assert found.index('"x": r') < found.index("branches_kwargs") < found.index("other = predictions[0].float()")
    assert "third = predictions[-1].float()" in found and "first = 0" in found
    assert formed("def __call__(self, latents):\n" + textwrap.indent(APART, "    ")).apart == 2


def test_what_an_apart_prediction_needs_is_made_before_the_call() -> None:
    found = body(APART.replace("if k:\n", "if k:\n    s = m(r)\n").replace("if h:\n", "if h:\n    s = n(r)\n"))
    assert found.index("s = n(r)") < found.index('"x": r') < found.index("s = m(r)") < found.index('"x": s')
    assert found.index('"x": s') < found.index("predict_noise_with_multi_branch_cfg")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(x=s)", "(x=other)"),
        ("if k:", "if first:"),
        ("if k:\n", "if k:\n    w = r\n"),
        ("if k:\n", "if k:\n    s = other\n"),
        ("[0].float()\n    second", ".float()\n    second"),
        ("step(pred + first + second)", "self.transformer(x=pred)[0] + first + second"),
        ("latents = ", "branches = "),
    ],
)
def test_predictions_that_are_not_apart_stay_calls_of_their_own(old: str, new: str) -> None:
    assert old in APART
    found = body(APART.replace(old, new))
    assert "multi_branch" not in found and found.count("self.transformer(") >= 2


def test_the_denoiser_of_the_round_is_an_argument() -> None:
    choice = "if t > b:\n    model = self.transformer\nelse:\n    model = self.transformer_2\n"
    calls = "pred = model(x=latents)[0]\nif g:\n    neg = model(x=latents)[0]\n    pred = f(pred, neg)"
    found = body(choice + calls, TWO)
    assert found.count('"model": model') == 2
    assert "predict_noise" not in body(choice.replace("self.transformer_2", "other()") + calls, TWO)


@pytest.mark.parametrize(("bare", "end"), [(False, "return_dict=False)[0]"), (True, "return_dict=False)\n")])
def test_an_output_class_is_not_asked_for(bare: bool, end: str) -> None:
    denoisers = Denoisers(ONE.parameters, bare=bare)
    source = "def __call__(self, latents):\n    pred = self.transformer(x=latents, return_dict=True).sample\n"
    found = text([without_samples(function(source), denoisers)])
    assert ".sample" not in found and end in found
    same = "def __call__(self, latents):\n    pred = self.other(x=latents).sample\n"
    assert text([without_samples(function(same), denoisers)]) == text([function(same)])


def test_two_denoisers_in_every_round_are_a_pair() -> None:
    found = body("a = self.transformer(x=p)[0]\nb = self.transformer_2(x=q)[0]\nc = b + s * (a - b)", TWO)
    assert "do_true_cfg=True" in found and "a, b = a" in found


@pytest.mark.parametrize(
    ("source", "construct"),
    [
        ("latents = f(latents)", "runs no denoiser"),
        (f"for t in ts:\n    pred = {CALL}\n    return pred", "returns in the midst"),
    ],
)
def test_a_call_without_a_span_is_refused(source: str, construct: str) -> None:
    node = function("def __call__(self, latents):\n" + textwrap.indent(source, "    ") + "\n")
    with pytest.raises(UnsupportedError, match=construct) as error:
        find_span(node, ONE, "f.py", 7)
    assert (error.value.file, error.value.line) == ("f.py", 7)


def single(statement: str) -> str:
    return f"def __call__(self, latents):\n    for t in ts:\n        {statement}\n        pred = {CALL}\n"


DOUBLED = (
    "x = torch.cat([latents] * 2)",
    "x = torch.cat([a, a])",
    "a, b = pred.chunk(2)",
    "if g: x = torch.cat([negative, positive])",
    "if g: x = positive + negative_positive",
)


@pytest.mark.parametrize("doubled", DOUBLED)
def test_doubled_batches_are_seen(doubled: str) -> None:
    assert doubling(function(single(doubled)), ONE)


OTHER = ("a, b = pred.chunk(2, dim=1)", "x = torch.cat([latents, mask])", "x = latents.repeat(n, 1)", "y = x.chunk(3)")


@pytest.mark.parametrize("other", OTHER)
def test_other_uses_of_the_same_functions_are_no_doubling(other: str) -> None:
    assert not doubling(function(single(other)), ONE)
