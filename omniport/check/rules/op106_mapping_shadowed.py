"""OP106: an entry of a mapping is never reached because an earlier one matches its names."""

from __future__ import annotations

from collections.abc import Iterator

from omniport.check.mappings import Entry, mapping_entries
from omniport.check.model import Finding, Rule
from omniport.check.port import Port


class MappingShadowed(Rule):
    """An entry of ``stacked_params_mapping`` is never reached because an earlier one matches its names.

    The part of an earlier entry is contained in the part of a later one (``.q`` in ``.q_moe``), and renames it to
    something else than the later entry would.

    Why: the loop takes the first entry whose part is in the name and stops.  The later layer's tensors are renamed by
    the earlier entry to a parameter that does not exist, and are lost or raise.  BAGEL of vllm-omni 0.30.0 sorts its
    experts' entries longest first for that reason.

    Fix: put the longer part first, or end both with the dot (``".to_q."``).
    """

    code = "OP106"
    name = "mapping-shadowed"
    VALID = (
        """
        class Transformer:
            stacked_params_mapping = [(".moe_qkv", ".q_moe", "q"), (".qkv", ".q", "q")]
        """,
        """
        class Transformer:
            stacked_params_mapping = [(".qkv.", ".q.", "q"), (".moe_qkv.", ".q_moe.", "q")]
        """,
    )
    INVALID = (
        """
        class Transformer:
            stacked_params_mapping = [(".qkv", ".q", "q"), (".moe_qkv", ".q_moe", "q")]
        """,
        """
        class Transformer:
            def load_weights(self, weights):
                stacked_params_mapping = [("to_qkv", "to_q", "q"), ("context_qkv", "context_to_q", "q")]
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            before: list[Entry] = []
            for entry in mapping_entries(file):
                before = [e for e in before if e.table is entry.table]
                hit = next((e for e in before if e.fused != entry.fused and e.part in entry.part), None)
                # harmless where the result is the same: the entry of "to_q" makes "add_to_q" into "add_to_qkv" too
                if hit is not None and entry.part.replace(hit.part, hit.fused) != entry.fused:
                    yield self.at(file, entry.node, f"names with {entry.part!r} are taken by {hit.part!r} before")
                before.append(entry)
