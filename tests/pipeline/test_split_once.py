"""The split of a doubled batch is made once for plan and port; a refusal names the place that each asks about."""

import libcst as cst
import pytest

from omniport.errors import UnsupportedError
from omniport.rewrite.pipeline.denoiser import Denoisers
from omniport.rewrite.pipeline.guidance import split

DENOISERS = Denoisers((("self.transformer", ("hidden_states",)),))
DOUBLED = """\
def __call__(self, latents, embeds, negative_embeds, do_classifier_free_guidance):
    if do_classifier_free_guidance:
        embeds = torch.cat([negative_embeds, embeds])
    for t in self.scheduler.timesteps:
        both = torch.cat([latents] * 2) if do_classifier_free_guidance else latents
        noise = self.transformer(both, embeds, return_dict=False)[0]
        if do_classifier_free_guidance:
            uncond, text = noise.chunk(2)
            noise = uncond + self.guidance_scale * (text - uncond)
        latents = self.scheduler.step(noise, t, latents, return_dict=False)[0]
    return latents
"""


def _function(text: str) -> cst.FunctionDef:
    node = cst.parse_module(text).body[0]
    assert isinstance(node, cst.FunctionDef)
    return node


def test_the_same_function_is_split_once_whatever_the_place() -> None:
    entry = _function(DOUBLED)
    assert split(entry, (), DENOISERS, ("a.py", 1)) is split(entry, (), DENOISERS, ("b.py", 2))


def test_a_refusal_names_the_place_that_was_asked_about() -> None:
    entry = _function(DOUBLED.replace("noise.chunk(2)", "self.halves(noise)"))
    for place in (("a.py", 1), ("b.py", 2)):
        with pytest.raises(UnsupportedError) as caught:
            split(entry, (), DENOISERS, place)
        assert (caught.value.file, caught.value.line) == place
        assert str(caught.value).startswith(f"{place[0]}:{place[1]}: the doubled batch cannot be split: ")
