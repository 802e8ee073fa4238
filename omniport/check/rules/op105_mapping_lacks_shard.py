"""OP105: a mapping of checkpoint names fills a fused layer only in part."""

from __future__ import annotations

from collections.abc import Iterator

from omniport.check.mappings import Entry, mapping_entries
from omniport.check.model import Finding, Rule
from omniport.check.port import Port

_QKV = {"q", "k", "v"}


class MappingLacksShard(Rule):
    """``stacked_params_mapping`` fills a fused layer only in part.

    The entries of one fused name have some but not all of the shards ``"q"``, ``"k"``, ``"v"``, or numbers with a gap.

    Why: the rest of the fused matrix stays uninitialised memory.  The loader's check compares names of parameters, and
    one shard is enough to count the parameter as loaded: a tiny Wan S2V without ``q`` loads without complaint in
    vllm-omni 0.30.0.  #1728 and #4278 corrected mappings of merged ports.

    Fix: add the entry of the missing part.
    """

    code = "OP105"
    name = "mapping-lacks-shard"
    VALID = (
        """
        class Transformer:
            stacked_params_mapping = [(".to_qkv", ".to_q", "q"), (".to_qkv", ".to_k", "k"), (".to_qkv", ".to_v", "v")]
        """,
        """
        class Transformer:
            def load_weights(self, weights):
                stacked_params_mapping = [(".w13", ".w1", 0), (".w13", ".w3", 1)]
        """,
        """
        class Transformer:
            def load_weights(self, weights):
                stacked_params_mapping = [(".to_kv", ".to_k", 0), (".to_kv", ".to_v", 1), *more()]
        """,
    )
    INVALID = (
        """
        class Transformer:
            stacked_params_mapping = [(".to_qkv", ".to_q", "q"), (".to_qkv", ".to_k", "k")]
        """,
        """
        class Transformer:
            def load_weights(self, weights):
                stacked_params_mapping = [(".w13", ".w1", 0), (".w13", ".w3", 2)]
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            tables: dict[int, dict[str, list[Entry]]] = {}
            for entry in mapping_entries(file):
                tables.setdefault(id(entry.table), {}).setdefault(entry.fused, []).append(entry)
            for table in tables.values():
                for fused, entries in table.items():
                    if missing := _missing([entry.shard for entry in entries]):
                        yield self.at(file, entries[-1].node, f"{fused!r} never gets its shard(s) {', '.join(missing)}")


def _missing(shards: list[object]) -> list[str]:
    """The shards that are not there; none where the ids are not literals of one kind."""
    if all(isinstance(s, str) and s in _QKV for s in shards):
        return [repr(s) for s in sorted(_QKV - {str(s) for s in shards})]
    numbers = [s for s in shards if isinstance(s, int) and not isinstance(s, bool)]
    if len(numbers) != len(shards) or not numbers:
        return []
    return [repr(n) for n in range(max(max(numbers) + 1, 2)) if n not in numbers]
