"""A doubled batch in two: each rule, what it leaves alone, and what is refused."""

from __future__ import annotations

import textwrap

import pytest

from omniport.errors import UnsupportedError
from omniport.rewrite.pipeline.denoiser import Denoisers
from omniport.rewrite.pipeline.guidance import split
from tests.pipeline.helpers import function, text

ONE = Denoisers((("self.transformer", ("x", "cond")),))
G = "self.do_classifier_free_guidance"


def call(
    before: str = "",
    inputs: str = "",
    arguments: str = "x, cond",
    after: str = "",
    halves: str = "uncond, cond_pred = pred.chunk(2)",
    joined: str = "cond = torch.cat([negative_cond, cond], dim=0)",
) -> str:
    start = f"if {G}:\n    {joined}\n{before}\nfor t in self.ts:\n"
    inputs, after = inputs or "more = t", after or "more = t"
    rounds = (
        f"x = torch.cat([latents] * 2) if {G} else latents\n{inputs}\n"
        f"pred = self.transformer({arguments})[0]\n{after}\n"
        f"if {G}:\n    {halves}\n    pred = uncond + scale * (cond_pred - uncond)\n"
        "latents = step(pred, latents)\n"
    )
    body = textwrap.indent(start + textwrap.indent(rounds, "    ") + "return latents\n", "    ")
    return f"def __call__(self, latents, cond, negative_cond, mask, scale):\n{body}"


def done(source: str, *helpers: str) -> str:
    return text([split(function(source), tuple(function(h) for h in helpers), ONE, ("f.py", 3))])


def test_the_negative_side_becomes_a_second_call() -> None:
    found = done(call())
    assert "torch.cat" not in found and "chunk" not in found
    assert "x = latents" in found
    assert f"if {G}:\n            negative_pred = self.transformer(x, negative_cond)[0]" in found
    assert "uncond, cond_pred = negative_pred, pred" in found
    assert "pred = uncond + scale * (cond_pred - uncond)" in found


def test_a_copy_that_is_written_to_is_a_clone_where_the_source_doubles() -> None:
    found = done(call(inputs="x[:, :2] = mask"))
    assert f"x = latents.clone() if {G} else latents" in found


def test_the_order_of_the_halves_is_the_order_of_the_sides() -> None:
    found = done(call(joined="cond = torch.cat([cond, negative_cond], dim=0)"))
    assert "uncond, cond_pred = pred, negative_pred" in found


def test_what_reads_a_pair_is_written_twice() -> None:
    found = done(call(before="cond = self.project(cond.to(x.dtype))"))
    assert "cond = self.project(cond.to(x.dtype))" in found
    assert "negative_cond = self.project(negative_cond.to(x.dtype))" in found


@pytest.mark.parametrize("plain", ["size = cond.shape[1]", "kind = cond.dtype", "n = len(cond)", "other = f(mask)"])
def test_what_both_sides_share_is_written_once(plain: str) -> None:
    found = done(call(before=f"{plain}\nself.use(size, kind, n, other)"))
    assert found.count(plain) == 1 and "negative_size" not in found and "negative_other" not in found


def test_work_on_the_prediction_is_done_on_both_sides() -> None:
    found = done(call(after="pred = pred.float()"))
    assert "pred = pred.float()" in found and "negative_pred = negative_pred.float()" in found


def test_halving_along_another_dimension_is_no_guidance() -> None:
    found = done(call(after="pred = pred.chunk(2, dim=1)[0]"))
    assert "pred = pred.chunk(2, dim=1)[0]" in found and "negative_pred = negative_pred.chunk(2, dim=1)[0]" in found


def test_slices_by_batch_are_the_sides() -> None:
    found = done(call(halves="uncond, cond_pred = pred[:batch_size], pred[batch_size:]"))
    assert "uncond, cond_pred = negative_pred, pred" in found


def test_a_doubled_number_and_its_half_are_one() -> None:
    source = call(before=f"n = 2 * b if {G} else b\nif {G}:\n    r = f(b * 2)\nelse:\n    r = f(b)\nuse(n, r)")
    found = done(source)
    assert "n = b" in found and "f(b * 2)" not in found


def test_a_dictionary_that_takes_a_pair_becomes_one() -> None:
    found = done(call(before='extra = {}\nextra["mask"] = f(cond)', arguments="x, cond, extra"))
    assert 'negative_extra = {**extra, "mask": f(negative_cond)}' in found
    assert "self.transformer(x, negative_cond, negative_extra)" in found


def test_both_branches_of_a_condition_make_the_same_twin() -> None:
    source = call(before="if mask is None:\n    m = f(cond)\nelse:\n    m = g(cond)", arguments="x, cond, m")
    found = done(source)
    assert "negative_m = f(negative_cond)" in found and "negative_m = g(negative_cond)" in found
    assert "self.transformer(x, negative_cond, negative_m)" in found


def test_a_copy_that_is_written_to_is_a_clone() -> None:
    assert "x = latents.clone()" in done(call(inputs="x[:, 0] = mask"))
    assert "clone" not in done(call(inputs="y[:, 0] = mask"))


FLAGGED = (
    "def prepare(self, image, do_classifier_free_guidance):\n"
    "    if do_classifier_free_guidance:\n        BODY\n    return image\n"
)


def test_a_helper_that_only_doubles_is_told_not_to() -> None:
    source = call(before=f"image = self.prepare(image, {G})\nuse(image)")
    found = done(source, FLAGGED.replace("BODY", "image = torch.cat([image] * 2)"))
    assert "image = self.prepare(image, False)" in found


def test_a_helper_that_makes_the_negative_side_is_left_alone() -> None:
    source = call(before=f"image = self.prepare(image, {G})")
    assert f"self.prepare(image, {G})" in done(source, FLAGGED.replace("BODY", "negative = encode(image)"))


@pytest.mark.parametrize(
    "inside", ["image = torch.cat([negative, image])", "image = torch.cat([image] * 2); n = 2 * n"]
)
def test_a_helper_of_the_denoising_that_hides_both_sides_is_refused(inside: str) -> None:
    with pytest.raises(UnsupportedError, match="inside"):
        source = call(inputs=f"mask = self.prepare(mask, {G})")
        done(source, FLAGGED.replace("BODY", inside.replace("; ", "\n        ")))


@pytest.mark.parametrize(
    ("source", "construct"),
    [
        (call(joined="cond = encode(cond)"), "no concatenation"),
        (call(arguments="x, mask"), "reads no value"),
        (call(halves="uncond, cond_pred = take(pred)"), "round before"),
        (call(before="cond += 1"), "in place"),
        (call(before="self.seen.append(cond)"), "reads a pair"),
        (call(before="for c in cond:\n    f(c)"), "a loop over"),
        (call(before="if cond.any():\n    x = 1"), "condition"),
        (call(before="kept[0] = cond"), "in an element"),
        (call(before="def inner():\n    return cond"), "inside a FunctionDef"),
    ],
)
def test_what_is_not_proved_is_refused_with_its_place(source: str, construct: str) -> None:
    with pytest.raises(UnsupportedError, match=construct) as error:
        done(source)
    assert (error.value.file, error.value.line) == ("f.py", 3)
