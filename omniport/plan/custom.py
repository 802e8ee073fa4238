"""What was read from a custom model repository: who plays which role, on what evidence.

Part of the plan: frozen, JSON in and out (:mod:`omniport.plan.serial`), written by :mod:`omniport.custom`.
"""

from __future__ import annotations

from typing import Literal

from omniport.plan.model import Why
from omniport.records import sealed

CustomRole = Literal[
    "backbone", "block", "attention", "fusion", "vae", "text encoder", "loader", "denoise loop", "config source",
    "pre and post", "media",
]  # fmt: skip
Position = Literal["hard", "soft", "lazy"]
Provenance = Literal["declared", "known name", "not on the index", "unknown"]


@sealed(frozen=True)
class Candidate:
    """A class or function that may play a role.

    ``score`` is the sum of the evidence's weights; ``variants`` are candidates of the same family (``WanModel`` and
    ``WanModel_S2V``), which are another model each and no rival.
    """

    role: CustomRole
    name: str
    file: str
    line: int
    score: int
    evidence: tuple[Why, ...]
    variants: tuple[str, ...] = ()


@sealed(frozen=True)
class Dependency:
    """A package that the code imports and vLLM-Omni does not bring.

    ``position``: at the top of a module, within ``try`` or ``if``, or within a function.  ``distribution`` is the name
    to install, empty where nobody says which it is.
    """

    name: str
    distribution: str
    position: Position
    provenance: Provenance
    why: Why


Medium = Literal["image", "video", "audio"]


@sealed(frozen=True)
class MediaPlan:
    """What a port takes besides text, and what it gives.

    ``output`` is None where that is not certain; then, and where what goes in is not, ``questions`` says what to ask.
    ``several``: a request may bring more than one picture.  ``warm_up`` says why no start-up request can be answered.
    ``sample_rate`` in Hz, of sound that comes out, where the source has it as a number.
    """

    output: Medium | None
    inputs: tuple[Medium, ...]
    several: bool
    warm_up: Why | None
    sample_rate: int | None
    color_format: str
    output_why: tuple[Why, ...]
    inputs_why: tuple[Why, ...]  # one for each input
    questions: tuple[Why, ...]


@sealed(frozen=True)
class CustomPlan:
    """The role report of a repository.

    ``backbone`` is the accepted one, None where it must be asked; then ``questions`` says what to ask, and ``media``,
    which is that of this denoiser, is None.
    """

    source: str  # the folder's name and its files
    backbone: Candidate | None
    candidates: tuple[Candidate, ...]
    dependencies: tuple[Dependency, ...]
    weights: tuple[Why, ...]  # literal names of weight files, where they are read
    hazards: tuple[Why, ...]  # pickles without weights_only, eval, HTTP
    licence: Why
    permissive: bool
    questions: tuple[Why, ...]
    notes: tuple[Why, ...]
    media: MediaPlan | None
