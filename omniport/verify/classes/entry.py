"""The form of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Variant:
    """One published form of a class: what differs from the class's own recipe, and which models have it.

    ``config`` replaces constructor defaults; ``inputs`` are expressions for parameters of ``forward`` (an empty one
    leaves the parameter out), with ``words`` of their own; ``sizes`` replaces axis lengths of every call;
    ``even_only`` says why odd lengths and a single sample are not tried.
    """

    reason: str
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    even_only: str = ""


@dataclass(frozen=True)
class Entry(Variant):
    """How the calls of one transformer class are made where names and defaults do not tell.

    ``variants`` are further published forms; what they say adds to the entry's own or replaces it.  ``untried`` names
    inputs that the port keeps and no form has, with the reason.
    """

    reason: str = ""
    variants: Mapping[str, Variant] = field(default_factory=dict)
    untried: Mapping[str, str] = field(default_factory=dict)
