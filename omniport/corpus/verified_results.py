"""What :mod:`omniport.corpus.verified` found of a pipeline."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Found:
    """One feature of one port; ``declared`` is False where the port does not claim it."""

    feature: str
    state: str
    reason: str = ""
    figure: float | None = None
    declared: bool = True

    @property
    def wrong(self) -> bool:
        """Whether the port claims the feature, and it does not work."""
        return self.state == "unsupported" and self.declared


@dataclass(frozen=True)
class Verified:
    """One pipeline; ``refused`` is why it has no port, ``missed`` why it has one that could not be verified at all."""

    name: str
    digest: str
    date: str
    refused: str = ""
    missed: str = ""
    features: tuple[Found, ...] = ()
