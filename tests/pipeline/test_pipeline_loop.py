"""The denoise loop: its progress bar, its two forms, and what is refused."""

from __future__ import annotations

import textwrap

import pytest

from omniport.analyse.pipeline_loop import find_loop
from omniport.errors import UnsupportedError
from omniport.plan.model import Decision, PipelinePlan, Why
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


def plan(loop_entry: str) -> PipelinePlan:
    loop = find_loop(function(loop_entry), "f.py", 1)
    why = Why("test")
    decisions = [
        Decision("diffuse arguments", "ts, latents, positive, guided, negative, scale", why),
        Decision("diffuse results", "latents", why),
        Decision("guidance combine", loop.combine, why),
        Decision("scheduler step", "mixin" if loop.step is not None else "source", why),
    ]
    return PipelinePlan("P", "m", "image", (), (), "sequential", (), None, None, tuple(decisions))


def split(source: str) -> tuple[str, str]:
    new, diffuse = split_loop(function(source), plan(source))
    return text([new]), text([diffuse])


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
    assert find_loop(function(source), "f.py", 1).combine == "own"
    _, diffuse = split(source)
    assert combine in diffuse and "pred, neg = pred" in diffuse
    assert diffuse.index("predict_noise_maybe_with_cfg") < diffuse.index("pred, neg = pred") < diffuse.index(combine)


def test_factor_on_the_right_is_the_same_formula() -> None:
    assert find_loop(function(entry("pred = neg + (pred - neg) * scale")), "f.py", 1).combine == "default"


def test_statement_between_moves_up_unless_it_needs_the_prediction() -> None:
    _, diffuse = split(entry(between="mask = make(t)"))
    assert diffuse.index("mask = make(t)") < diffuse.index("negative_kwargs")
    _, diffuse = split(entry(between="pred = pred.float()"))
    assert diffuse.index("predict_noise_maybe_with_cfg") < diffuse.index("pred = pred.float()")


def test_work_on_the_prediction_before_the_formula_makes_it_another_formula() -> None:
    assert find_loop(function(entry(between="pred = pred.float()")), "f.py", 1).combine == "own"


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
    assert find_loop(function(source), "f.py", 1).step is None
    _, diffuse = split(source)
    assert step in diffuse and "scheduler_step_maybe_with_cfg" not in diffuse


CALL = "self.transformer(x=latents)[0]"


@pytest.mark.parametrize(
    ("body", "construct"),
    [
        ("latents = f(latents)", "called in 0 statements"),
        (f"for t in ts:\n    a = {CALL}\nfor t in ts:\n    b = {CALL}", "called in 2 statements"),
        (f"while ts:\n    pred = {CALL}", "not called in a for loop"),
        (f"with torch.no_grad():\n    for t in ts:\n        pred = {CALL}", "around the denoise loop"),
        ("for t in ts:\n    pred = self.transformer(x=latents)", "no plain"),
        ("for t in ts:\n    pred = self.transformer(latents)[0]", "no plain"),
        ("for t in ts:\n    pred = self.transformer(**inputs)[0]", "no plain"),
        (f"for t in ts:\n    pred = -{CALL}", "no plain"),
        (f"for t in ts:\n    a = {CALL}\n    b = {CALL}", "2 calls of the denoiser"),
        (f"for t in ts:\n    a = {CALL}\n    if c:\n        b = {CALL}\n    else:\n        b = a", "2 calls"),
        (f"for t in ts:\n    a = {CALL}\n    if c:\n        if d:\n            b = {CALL}", "guarded prediction"),
    ],
)
def test_unknown_forms_are_refused(body: str, construct: str) -> None:
    source = "def __call__(self, latents):\n" + textwrap.indent(body, "    ") + "\n"
    with pytest.raises(UnsupportedError, match=construct) as error:
        find_loop(function(source), "f.py", 7)
    assert (error.value.file, error.value.line) == ("f.py", 7)


def single(statement: str) -> str:
    return f"def __call__(self, latents):\n    for t in ts:\n        {statement}\n        pred = {CALL}\n"


DOUBLED = ("x = torch.cat([latents] * 2)", "x = torch.cat([a, a])", "a, b = pred.chunk(2)", "x = latents.repeat(2, 1)")


@pytest.mark.parametrize("doubled", DOUBLED)
def test_doubled_batches_are_refused(doubled: str) -> None:
    with pytest.raises(UnsupportedError, match="doubled batch"):
        find_loop(function(single(doubled)), "f.py", 1)


OTHER = ("a, b = pred.chunk(2, dim=1)", "x = torch.cat([latents, mask])", "x = latents.repeat(n, 1)", "y = x.chunk(3)")


@pytest.mark.parametrize("other", OTHER)
def test_other_uses_of_the_same_functions_are_no_doubling(other: str) -> None:
    loop = find_loop(function(single(other)), "f.py", 1)
    assert loop.negative is None and loop.positive.target == "pred"
