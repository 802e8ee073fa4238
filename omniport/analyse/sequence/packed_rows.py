"""Packed sequences: hidden states without a batch, ``[tokens, width]``, and causal attention over one stream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from omniport.analyse.facts import Site
from omniport.analyse.poly import Poly
from omniport.analyse.sequence.kinds import KindRules
from omniport.analyse.sequence.rules import BATCH
from omniport.analyse.shapes import Const, Dim, Tensor

#: What meets hidden states that are taken for ``[batch, tokens, width]`` and have no batch.
RESHAPED = "is reshaped across tokens"


class PackedRows(KindRules):
    """Takes what the blocks change, and is of unknown rank, for rows alone where a reshape speaks against a batch."""

    def changed(self, label: str) -> tuple[Dim, ...]:
        """The axes of a value of unknown rank that the blocks change."""
        width = Dim(Poly.of(f"width of {label}"))
        if self.forms.get(label) == 2:
            return (self.axis_of(f"{label}__0"), width)
        return (Dim(BATCH), self.axis_of(f"{label}__1"), width)

    def barrier(self, streams: Iterable[str], reason: str) -> None:
        """``x.view(-1, heads, width)`` cuts the rows of a packed sequence, and joins batch and tokens of any other."""
        names = tuple(streams)
        if reason == RESHAPED:
            self.record.unranked += [
                (seed.label, "packed")
                for seed in self.record.seeds
                if seed.changed and set(names) & seed.tensor.streams and seed.label not in self.forms
            ]
        super().barrier(names, reason)

    def attention(self, site: Site, tensors: list[Any], options: dict[str, Any], *, heads_first: bool) -> Tensor:
        """Causal attention within one stream: ranks put its tokens together in order, what pads it comes last."""
        causal = options.get("is_causal", Const(False)) == Const(True)
        at = 2 if heads_first else 1
        streams = {self.made_of(x.known[at].streams) for x in tensors if isinstance(x, Tensor) and len(x.known) == 4}
        if causal and len(streams) == 1 and len(next(iter(streams))) == 1:
            result = super().attention(site, tensors, {**options, "is_causal": Const(False)}, heads_first=heads_first)
            self.record.causal.add(site)
            return result
        return super().attention(site, tensors, options, heads_first=heads_first)
