"""What the port says it takes and gives, or the question where the evidence does not settle it.

Source of the numbers: the fixtures and packages of ``docs/custom-repositories.md``; a wrong answer there would be one
too many, an open question is none.
"""

from __future__ import annotations

import re

from omniport.custom.signals.media import KINDS, Entry, Media
from omniport.errors import OmniportError
from omniport.plan.custom import MediaPlan, Medium
from omniport.plan.model import Why

ENOUGH = 4  # points of an output that is taken
MARGIN = 2  # points between it and the next
_ASKED = re.compile(r"(?:(?P<inputs>[a-z+]+)-to-)?(?P<output>image|video|audio)\Z")
_INPUTS = frozenset({"text", "image", "images", "audio", "video"})
FORM = "OUTPUT or INPUTS-to-OUTPUT, for example image, text-to-video, image+audio-to-video, images-to-image"


def decide(media: Media, asked: str | None) -> MediaPlan:
    """The media of the port; what was asked for settles what it names.

    Raises:
        OmniportError: ``asked`` has no such form.
    """
    output, output_why, doubt = _output(media)
    inputs, several, doubts = _inputs(media)
    if asked is not None:
        output, named = _parsed(asked)
        said = Why(f"given with --media {asked}")
        output_why, doubt = (said,), None
        if named is not None:
            inputs = {kind: said for kind in KINDS if kind in {"image" if n == "images" else n for n in named}}
            several, doubts = "images" in named, ()
    alone = next((e.alone for e in media.entries if e.alone is not None), None)
    rates, colours = dict(reversed(media.rates)), dict(reversed(media.colours))
    return MediaPlan(
        output=output,
        inputs=tuple(inputs),
        several=several,
        warm_up=alone if inputs or output == "audio" else None,
        sample_rate=next(iter(rates)) if output == "audio" and len(rates) == 1 else None,
        color_format=next(iter(colours)) if "image" in inputs and len(colours) == 1 else "RGB",
        output_why=output_why,
        inputs_why=tuple(inputs.values()),
        questions=(*((doubt,) if doubt is not None else ()), *doubts),
    )


def _parsed(asked: str) -> tuple[Medium, list[str] | None]:
    """The output, and the inputs if they are named.

    Raises:
        OmniportError: it has another form.
    """
    match = _ASKED.match(asked)
    named = match["inputs"].split("+") if match is not None and match["inputs"] else None
    if match is None or (named is not None and not _INPUTS.issuperset(named)):
        raise OmniportError(f"--media {asked}: no such form; give {FORM}")
    return next(kind for kind in KINDS if kind == match["output"]), named


def _output(media: Media) -> tuple[Medium | None, tuple[Why, ...], Why | None]:
    """The output with its evidence, or what is not certain about it."""
    found = sorted(((kind, media.outputs[kind]) for kind in KINDS), key=lambda pair: -pair[1].total)
    kind, best = found[0]
    image, video = media.outputs["image"], media.outputs["video"]
    rivals = [g for _, g in found[1:] if g.total]
    if kind == "video" and video.told:  # a video is made of pictures: writing one is no evidence against it
        rivals = [g for g in rivals if g is not image]
    doubtful = [g for g in rivals if best.total - g.total < MARGIN or g.total >= ENOUGH]
    untold = kind == "video" and not video.told and image.told  # the models could, the functions do not say so
    framed = kind == "image" and video.told
    if best.total >= ENOUGH and not doubtful and not untold and not framed:
        return kind, tuple(best.evidence), None
    shown = [f"{k} {g.total} ({', '.join(w.reason for w in g.evidence)})" for k, g in found if g.total]
    first = best.evidence[0] if best.evidence else Why("")
    said = f"what comes out is not certain: {' or '.join(shown)}" if shown else "nothing says what comes out"
    return None, (), Why(said, first.file, first.line)


def _inputs(media: Media) -> tuple[dict[Medium, Why], bool, tuple[Why, ...]]:
    """What goes in with its evidence, whether pictures come in numbers, and what is not certain."""
    if not media.entries:
        return {}, False, (Why("what goes in is not known: no function that generates was found"),)
    taken: dict[Medium, Why] = {}
    doubts = []
    for kind in KINDS:
        takers = [e for e in media.entries if kind in e.inputs]
        if len(takers) == len(media.entries):
            taken[kind] = takers[0].inputs[kind]
        elif takers:
            others = [e for e in media.entries if kind not in e.inputs]
            reason = f"{kind} goes into {_names(takers)}, not into {_names(others)}"
            doubts.append(Why(reason, takers[0].function.file.path, takers[0].function.line))
    return taken, "image" in taken and any(e.several for e in media.entries), tuple(doubts)


def _names(entries: list[Entry]) -> str:
    return ", ".join(e.function.title for e in entries)
