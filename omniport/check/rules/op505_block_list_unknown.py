"""OP505: a declaration names a list of blocks that the transformer does not have."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.modules import attributes, literal_strings
from omniport.check.port import Port
from omniport.check.source import class_attributes, constant, keyword

_OFFLOAD = "_layerwise_offload_blocks_attrs"
_CACHE = "_cache_dit_adapter_config"


class BlockListUnknown(Rule):
    """A declaration names a list of blocks that the transformer does not have.

    An entry of ``_layerwise_offload_blocks_attrs``, or a key of ``block_forward_patterns`` in
    ``_cache_dit_adapter_config``, is no attribute of the class or of its bases in the port.

    Why: offload raises an AttributeError when it is switched on, and cache-dit in vllm-omni 0.30.0 raises too, the
    first time a user asks for either; nothing before that looks at the names.  #1888, #4452 and #6125 corrected paths.

    Fix: the attribute under which ``__init__`` keeps the list.
    """

    code = "OP505"
    name = "block-list-unknown"
    VALID = (
        """
        class Transformer(nn.Module):
            _layerwise_offload_blocks_attrs = ["blocks"]
            _cache_dit_adapter_config = CacheDiTAdapterConfig(block_forward_patterns={"blocks": Pattern_3})
            def __init__(self):
                self.blocks = nn.ModuleList([Block() for _ in range(4)])
        """,
        """
        class Transformer(SomethingImported):
            _layerwise_offload_blocks_attrs = ["blocks"]
        """,
    )
    INVALID = (
        """
        class Transformer(nn.Module):
            _layerwise_offload_blocks_attrs = ["transformer_blocks"]
            def __init__(self):
                self.blocks = nn.ModuleList([Block() for _ in range(4)])
        """,
        """
        class Transformer(nn.Module):
            _cache_dit_adapter_config = CacheDiTAdapterConfig(
                block_forward_patterns={"layers": ForwardPattern.Pattern_3}, has_separate_cfg=True
            )
            def __init__(self):
                self.blocks = nn.ModuleList([Block() for _ in range(4)])
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions(_OFFLOAD) and not file.mentions(_CACHE):
                continue
            for cls in file.nodes(ast.ClassDef):
                declared = class_attributes(cls)
                named = [*literal_strings(declared.get(_OFFLOAD)), *_patterns(declared.get(_CACHE))]
                known = attributes(port, file, cls) if named else None
                for node, name in named if known is not None else ():
                    if known is not None and name.split(".")[0] not in known:
                        yield self.at(file, node, f"{cls.name} has no attribute {name!r}")


def _patterns(node: ast.expr | None) -> list[tuple[ast.expr, str]]:
    table = keyword(node, "block_forward_patterns") if isinstance(node, ast.Call) else None
    keys = table.keys if isinstance(table, ast.Dict) else []
    return [(key, name) for key in keys if key is not None and isinstance(name := constant(key), str)]
