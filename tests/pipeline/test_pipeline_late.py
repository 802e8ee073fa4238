"""A doubled batch that is carried along: halves ahead of the loop, a step made once, one call for two branches."""

from __future__ import annotations

import textwrap

import pytest

from omniport.errors import UnsupportedError
from omniport.rewrite.pipeline.denoiser import Denoisers, without_samples
from omniport.rewrite.pipeline.guidance import doubled_for_denoiser, guided, split
from tests.pipeline.helpers import function, text

ONE = Denoisers((("self.transformer", ("x", "cond")),))

ENCODE = """
def encode(self, prompt, do_classifier_free_guidance):
    if do_classifier_free_guidance:
        prompt = torch.cat([self.null, prompt])
    return prompt
"""


def call(body: str) -> str:
    return "def __call__(self, latents, prompt, scale, ts):\n" + textwrap.indent(textwrap.dedent(body), "    ")


LATE = """
cond = self.encode(prompt, guide)
size = cond.shape[1]
cond = cond.repeat(1, size, 1)
for t in ts:
    x = torch.cat([latents] * 2) if guide else latents
    pred = self.transformer(x, cond)[0]
    if guide:
        uncond, own = pred.chunk(2)
        pred = uncond + scale * (own - uncond)
    latents = self.scheduler.step(pred, t, latents, return_dict=False)[0]
return latents
"""


def done(body: str, *helpers: str) -> str:
    return text([split(function(call(body)), tuple(function(h) for h in helpers), ONE, ("f.py", 3))])


def test_what_a_helper_joins_is_halved_ahead_of_the_loop() -> None:
    found = done(LATE, ENCODE)
    assert "if guide:\n        negative_cond, cond = cond.chunk(2)\n    for t in ts:" in found
    assert "cond = self.encode(prompt, guide)" in found and "cond = cond.repeat(1, size, 1)" in found
    assert "negative_pred = self.transformer(x, negative_cond)[0]" in found and "size.chunk" not in found
    assert guided(function(found), ONE).pairs[0].combine == "default"


def test_the_names_of_the_halves_tell_their_order() -> None:
    found = done(LATE.replace("uncond, own = pred", "own, uncond = pred"), ENCODE)
    assert "cond, negative_cond = cond.chunk(2)" in found


@pytest.mark.parametrize(
    ("old", "new", "construct"),
    [
        ("uncond, own = pred.chunk(2)", "one, own = pred.chunk(2)\n        uncond = one", "no names that tell them"),
        ("    x = torch", "    cond = self.encode(prompt, guide)\n    x = torch", "inside the denoising"),
        ("size = cond.shape[1]", "size = 2 * n if guide else n", "a size for both sides"),
        ("torch.cat([latents] * 2) if guide else latents", "latents", "not doubled under one condition"),
        ("cond = cond.repeat(1, size, 1)", "cond = prompt", "reads no value that holds both sides"),
    ],
)
def test_what_late_halves_do_not_cover_is_refused(old: str, new: str, construct: str) -> None:
    assert old in LATE
    with pytest.raises(UnsupportedError, match=construct):
        done(LATE.replace(old, new), ENCODE)


CARRIED = """
x = torch.cat([latents] * 2) if guide else latents
label = torch.cat([prompt, null], 0) if guide else prompt
for t in ts:
    if guide:
        half = x[: len(x) // 2]
        x = torch.cat([half, half], dim=0)
    pred = self.transformer(x, cond=label)[0]
    if guide:
        eps, rest = pred[:, :4], pred[:, 4:]
        own, uncond = torch.split(eps, len(eps) // 2, dim=0)
        half_eps = uncond + scale * (own - uncond)
        eps = torch.cat([half_eps, half_eps], dim=0)
        pred = torch.cat([eps, rest], dim=1)
    x = self.scheduler.step(pred, t, x).prev_sample
if guide:
    latents, _ = x.chunk(2, dim=0)
else:
    latents = x
return latents
"""


def test_a_doubled_batch_that_is_carried_over_the_rounds_is_one_side() -> None:
    found = done(CARRIED)
    assert found.count("self.scheduler.step(") == 1 and "half =" not in found
    assert "pred = torch.cat([eps, rest], dim=1)" in found and "negative_rest" not in found
    assert found.endswith("latents = x\n    return latents\n")


def test_the_half_that_no_step_made_is_not_read() -> None:
    with pytest.raises(UnsupportedError, match="the step made only the other"):
        done(CARRIED.replace("latents, _ = x.chunk(2, dim=0)", "_, latents = x.chunk(2, dim=0)"))
    with pytest.raises(UnsupportedError, match="the step made only the other"):
        done(CARRIED.replace("half = x[: len(x) // 2]", "half = x[len(x) // 2 :]"))


def test_what_reads_its_own_target_reads_it_on_both_sides() -> None:
    found = done(LATE.replace("cond)[0]\n", "cond)[0]\n    x = g(x, pred)\n    pred = pred + x\n"), ENCODE)
    assert found.index("negative_x = g(x, negative_pred)") < found.index("        x = g(x, pred)\n")


BRANCHES = """
for t in ts:
    if apply:
        out = self.transformer(
            x=torch.cat([latents, latents]), cond=torch.cat([prompt, null], dim=0), return_dict=False
        )
        own, uncond = out[0].chunk(2, dim=0)
        pred = combine(own, uncond)
    else:
        out = self.transformer(x=latents, cond=prompt, return_dict=False)
        pred = out[0]
    latents = self.scheduler.step(pred, t, latents, return_dict=False)[0]
return latents
"""


def joined(body: str) -> str:
    entry = without_samples(function(call(body)), ONE)
    return text([guided(split(entry, (), ONE, ("f.py", 3)), ONE).entry])


def test_a_call_that_both_branches_make_is_one_positive_call() -> None:
    found = joined(BRANCHES)
    assert "self.transformer(" not in found and found.count("predict_noise_maybe_with_cfg(") == 1
    assert "do_true_cfg=apply" in found and '"cond": null' in found
    assert "own, uncond = out\n" in found and "pred = out\n" in found


def test_another_call_in_the_other_branch_stays() -> None:
    found = joined(BRANCHES.replace("cond=prompt, return", "cond=other, return"))
    assert "cond=other" in found and "predict_noise_maybe_with_cfg(" not in found


def test_a_result_of_which_more_is_read_stays_whole() -> None:
    body = BRANCHES.replace("pred = combine(own, uncond)", "pred = combine(own, uncond, out[1])")
    entry = without_samples(function(call(body)), ONE)
    assert (
        "out[1]" in text([entry])
        and "pred = out[0]" in text([entry])
        and "prompt, return_dict=False)\n" in text([entry])
    )


STEPPED = """
for t in ts:
    pred = self.transformer(x=latents, cond=prompt)[0]
    if guide:
        uncond = self.transformer(x=latents, cond=null)[0]
        pred = torch.cat([uncond, pred])
    latents = step(pred)
return latents
"""


def test_predictions_joined_after_the_calls_are_no_doubled_batch() -> None:
    assert not doubled_for_denoiser(function(call(STEPPED)), (), ONE)
    assert doubled_for_denoiser(function(call(LATE)), (function(ENCODE),), ONE)
    assert doubled_for_denoiser(function(call(BRANCHES)), (), ONE)


PREPARE = """
def prepare(self, image, do_classifier_free_guidance):
    image = self.processor(image)
    if do_classifier_free_guidance:
        image = torch.cat([image] * 2)
    return image
"""

DRAWN = """
image = self.prepare(prompt, guide)
size = image.shape[-1]
image = self.vae.encode(image).latent_dist.sample()
image = image * scale
if guide:
    cond = torch.cat([null, prompt])
for t in ts:
    x = torch.cat([latents] * 2) if guide else latents
    pred = self.transformer(x, cond, image)[0]
    if guide:
        uncond, own = pred.chunk(2)
        pred = uncond + scale * (own - uncond)
    latents = self.scheduler.step(pred, t, latents, return_dict=False)[0]
return latents
"""


def test_a_draw_from_a_doubled_value_is_one_draw_of_both_sides() -> None:
    found = done(DRAWN, PREPARE)
    assert "image = self.prepare(prompt, guide)" in found and found.count(".sample()") == 1
    assert found.index(".sample()") < found.index("negative_image, image = image.chunk(2)")
    assert "negative_image = negative_image * scale" in found and "negative_cond, negative_image)" in found
    plain = done(DRAWN.replace(".latent_dist.sample()", ".latent_dist.mode()"), PREPARE)
    assert "image = self.prepare(prompt, False)" in plain and "image.chunk(2)" not in plain


def test_what_else_reads_a_doubled_value_before_the_draw_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="draws from it later"):
        done(DRAWN.replace("size = image.shape[-1]", "image = image.float()"), PREPARE)
