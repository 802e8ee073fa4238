"""The denoiser: a stack of blocks that attend, called with a time."""

from __future__ import annotations

import re
from collections.abc import Iterator

from omniport.custom.code import ClassRef
from omniport.custom.facts import Child, ClassFacts, Facts
from omniport.custom.signals import attention
from omniport.custom.signals.score import Score
from omniport.plan.custom import Candidate

#: parameters of ``forward`` that are the time, in lower case
TIMES = frozenset({"t", "timestep", "timesteps", "timesteps_b_t", "sigma", "sigmas", "time", "times", "time_step"})
_TIME_CHILD = re.compile(r"(t_|time_?|timestep_?)(embed\w*|in|token|emb\w*|proj\w*)\Z|adaln_single\Z|t_block\Z")
_INPUT_CHILD = re.compile(r"(x_embed\w*|patch_embed\w*|img_in|proj_in|patchify_proj|input_embed|vae2llm|x_proj)\Z")
_OUTPUT_CHILD = re.compile(r"(final_layer|proj_out|head|llm2vae|norm_out|to_pred)\Z")
_SMALL = re.compile(r"Block|Layer\b|Encoder|Decoder|Refiner|Connector|Embed|Attention|Expander|Head\Z|Tower|Text")
_AUTOENCODER = re.compile(r"VAE|Autoencoder|VQ", re.I)
_DENOISER = re.compile(r"\w*(Transformer[23]DModel|UNet\w*Model|DiT\w*|MMDiT)\Z")


def find(facts: Facts) -> Iterator[Candidate]:
    for ref in facts.all:
        score = scored(facts, ref)
        if score.total >= 5:
            yield score.candidate()


def scored(facts: Facts, ref: ClassRef) -> Score:
    """The score of a class; 0 for one that neither attends nor is called with a time."""
    of = facts.of(ref)
    score = Score.of("backbone", ref)
    if not of.methods.get("__init__") or not of.children:
        return score
    if blocks := stacks(facts, ref):
        score.add(3, f"{blocks[0].name} is a list of blocks that attend", blocks[0].line)
    elif foreign := external(facts, ref):
        score.add(9, f"{foreign.name} is a denoiser of diffusers: {foreign.calls[0]}", foreign.line)
    elif held := _held(facts, ref):
        score.add(3, f"{held.name} holds the stack that attends", held.line)
    else:
        return score
    if times := [p for p in of.forward() if p.lower() in TIMES]:
        score.add(3, f"forward takes {times[0]}", of.methods["forward"])
    for points, pattern, what in (
        (2, _TIME_CHILD, "embeds the time"),
        (1, _INPUT_CHILD, "embeds the input"),
        (1, _OUTPUT_CHILD, "projects the output"),
    ):
        if child := next((c for c in of.children.values() if pattern.match(c.name)), None):
            score.add(points, f"{child.name} {what}", child.line)
    if any(base.rsplit(".", 1)[-1] in ("ModelMixin", "PreTrainedModel") for base in of.bases):
        score.add(1, "is a model that can be saved and loaded")
    if _SMALL.search(ref.name):
        score.add(-4, "is named as a part")
    if _AUTOENCODER.search(ref.name) or {"encode", "decode"} <= of.methods.keys():
        score.add(-5, "is an autoencoder")
    return score


def stacks(facts: Facts, ref: ClassRef) -> list[Child]:
    """Lists of blocks that attend."""
    return [
        child
        for child in facts.of(ref).children.values()
        if child.listed
        and (
            child.dispatched
            or any(attention.owns(facts, built) for built in facts.built(ref, child))
            or any(_foreign_block(facts, ref, call) for call in child.calls)
        )
    ]


def external(facts: Facts, ref: ClassRef) -> Child | None:
    """A child that is a denoiser of diffusers."""
    of: ClassFacts = facts.of(ref)
    for child in of.children.values():
        for call in child.calls:
            last = call.rsplit(".", 1)[-1]
            if facts.origin(ref, call).split(".")[0] == "diffusers" and _DENOISER.match(last):
                return child
    return None


def _held(facts: Facts, ref: ClassRef) -> Child | None:
    """A single child that owns the whole stack: a language model, or a nested model."""
    for child in facts.of(ref).children.values():
        if not child.listed and any(
            attention.owns(facts, built) and (stacks(facts, built) or _language_model(facts, built))
            for built in facts.built(ref, child)
        ):
            return child
    return None


def _language_model(facts: Facts, ref: ClassRef) -> bool:
    return any(facts.origin(ref, base).startswith("transformers") for base in facts.of(ref).bases)


def _foreign_block(facts: Facts, ref: ClassRef, call: str) -> bool:
    last = call.rsplit(".", 1)[-1]
    return bool(facts.origin(ref, call)) and last.endswith(("Block", "DecoderLayer"))
