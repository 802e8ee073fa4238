"""The form of a pipeline's recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from omniport.records import dataclass


@dataclass(frozen=True)
class Picture:
    """A picture, made when a call is; ``frames`` asks for a list of that many."""

    seed: int = 0
    frames: int = 0
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Noise:
    """A tensor, made when a call is: normal numbers of ``shape``, or ones and zeros with ``binary``; ``count`` asks for
    a list of that many."""

    shape: tuple[int, ...]
    binary: bool = False
    count: int = 0


@dataclass(frozen=True)
class Recipe:
    """What a tiny checkpoint and the calls of one pipeline need that its signatures do not tell.

    ``components`` are the published classes of components (``library.Class``; empty: absent) where the constructor's
    annotation names a base, a union or nothing.  ``tokenizers`` names the family of a tokenizer.  ``configs`` replaces
    config values of components, ``settings`` are further arguments of the constructor.  ``call`` are arguments of every
    call; ``cases`` adds to those of one case, None leaves the case out.  ``reference`` is what the reference needs to
    run at all, by the name of a repair (:mod:`omniport.verify.repairs`).  ``reason`` says why all that.
    """

    reason: str = ""
    components: Mapping[str, str] = field(default_factory=dict)
    tokenizers: Mapping[str, str] = field(default_factory=dict)
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    call: Mapping[str, Any] = field(default_factory=dict)
    cases: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    repairs: tuple[str, ...] = ()
