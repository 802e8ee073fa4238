"""OP307: padding that sequence parallelism adds is attended to."""

from __future__ import annotations

from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.plans import all_entries, switched_on
from omniport.check.port import Port

#: what a port names when it builds a mask of the padding
_SIGNS = ("sp_padding_size", "sp_original_seq_len", "padding_mask", "mask_sp_padding", "AttentionMetadata")


class SpPaddingNotMasked(Rule):
    """Padding that sequence parallelism adds is attended to.

    An entry of ``_sp_plan`` has ``auto_pad=True``, and no file of the port builds attention metadata or reads the
    padding.

    Why: ``auto_pad`` fills the sequence with zeros up to a multiple of the ranks, and real tokens attend to them
    unless the port passes a mask: an image that changes with the number of ranks.  Wan2.2, Qwen-Image, FLUX.2 and
    HunyuanVideo 1.5 of vllm-omni 0.30.0 pass one; padding of merged ports was corrected in #4301, #4474 and #4678.

    Fix: build the mask with ``build_local_sp_padding_mask`` and give it to every attention call as
    ``AttentionMetadata(attn_mask=...)``; or leave ``auto_pad`` out, so that a length that does not divide is refused.
    """

    code = "OP307"
    name = "sp-padding-not-masked"
    VALID = (
        """
        class Attn:
            def forward(self, q, k, v, mask):
                return self.attn(q, k, v, AttentionMetadata(attn_mask=mask))
        class Model:
            _sp_plan = {"rope": {0: SequenceParallelInput(split_dim=0, split_output=True, auto_pad=True)}}
        """,
        """
        class Attn:
            def forward(self, q, k, v):
                return self.attn(q, k, v)
        class Model:
            _sp_plan = {"rope": {0: SequenceParallelInput(split_dim=0, split_output=True)}}
        """,
    )
    INVALID = (
        """
        class Attn:
            def forward(self, q, k, v):
                return self.attn(q, k, v)
        class Model:
            _sp_plan = {"rope": {0: SequenceParallelInput(split_dim=0, split_output=True, auto_pad=True)}}
        """,
        """
        class Model:
            _sp_plan = {
                "": {"hidden_states": SequenceParallelInput(split_dim=1, auto_pad=True)},
                "rope": {0: SequenceParallelInput(split_dim=0, split_output=True, auto_pad=True)},
            }
            def forward(self, hidden_states):
                return self.blocks(hidden_states)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        padded = [(e, call) for e in all_entries(port) for _, call in e.splits if switched_on(call, "auto_pad")]
        if padded and not any(file.mentions(sign) for file in port.files for sign in _SIGNS):
            entry, call = padded[0]
            yield self.at(entry.file, call, "zeros are added, and no attention of the port gets a mask for them")
