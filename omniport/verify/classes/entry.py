"""The form of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Variant:
    """One published form of a class: config keys and inputs that differ, and which models have it.

    The fields are those of :class:`Entry`, which they add to or replace.
    """

    reason: str
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    even_only: str = ""


@dataclass(frozen=True)
class Entry:
    """How the calls of one transformer class are made where names and defaults do not tell.

    ``config`` replaces constructor defaults; ``inputs`` are expressions for parameters of ``forward`` (an empty one
    leaves the parameter out), with ``words`` of their own; ``sizes`` replaces axis lengths of every call;
    ``even_only`` says why odd lengths and a single sample are not tried; ``variants`` are further published forms.
    """

    reason: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    even_only: str = ""
    variants: Mapping[str, Variant] = field(default_factory=dict)
