"""Fusion models: several backbones or modalities in one module."""

from __future__ import annotations

import re
from collections.abc import Iterator

from omniport.custom.facts import Facts
from omniport.custom.signals import backbone
from omniport.custom.signals.score import Score
from omniport.plan.custom import Candidate

_PARTS = frozenset(
    {
        "vision_model", "vision_tower", "vit", "vit_model", "aligner", "vit_aligner", "vae", "vae_model", "llm",
        "language_model", "connector", "llm2vae", "vae2llm", "audio_model", "video_model", "text_model",
    }
)  # fmt: skip
_MODALITIES = {
    "video": re.compile(r"vid(eo)?(\Z|_)|x_vid"),
    "audio": re.compile(r"audio|(\A|_)wav"),
    "image": re.compile(r"image|(\A|_)img|pixel"),
    "text": re.compile(r"(\A|_)text|prompt|input_ids|context"),
}
_NOT = re.compile(r"Config|Block|Layer|Pipeline|Processor|Attention|Dataset")


def find(facts: Facts) -> Iterator[Candidate]:
    for ref, of in facts.all.items():
        if _NOT.search(ref.name) or not of.children:
            continue
        score = Score.of("fusion", ref)
        models = [
            child
            for child in of.children.values()
            if not child.listed and any(backbone.scored(facts, b).total >= 5 for b in facts.built(ref, child))
        ]
        if len(models) >= 2:
            score.add(4, f"{' and '.join(m.name for m in models)} are backbones", models[1].line)
        given = [c for c in of.children.values() if c.parameter and re.search(r"model|backbone|dit|net\Z", c.parameter)]
        if len(given) >= 2:
            score.add(3, f"{' and '.join(c.name for c in given[:3])} are models given to it", given[1].line)
        if len(parts := sorted(_PARTS & of.children.keys())) >= 3:
            score.add(4, f"has {', '.join(parts)}", of.children[parts[0]].line)
        modalities = [name for name, pattern in _MODALITIES.items() if any(pattern.search(p) for p in of.forward())]
        if len(modalities) >= 2 and {"video", "audio"} <= set(modalities):
            score.add(2, f"forward takes {' and '.join(modalities)}", of.methods["forward"])
        if of.foreign:
            score.add(3, f"puts {', '.join(sorted(of.foreign)[:3])} into another model's blocks")
        if score.total >= 4:
            yield score.candidate()
