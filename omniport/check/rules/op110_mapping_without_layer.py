"""OP110: a mapping of checkpoint names names a fused layer that the port does not build."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from omniport.check.mappings import STACKED, mapping_entries
from omniport.check.model import Finding, Rule
from omniport.check.modules import assigned
from omniport.check.port import Port
from omniport.check.source import SourceFile, class_attributes

#: modules of whole models: what a port takes from them has layers of its own
_MODELS = re.compile(
    r"^(vllm\.model_executor\.models\.(?!utils\.)|transformers\.models\.|vllm_omni\.diffusion\.models\.\w+\.)"
)
_WHOLE = ("Attention", "Block", "Encoder", "Layer", "MLP", "Model", "Stack")


class MappingWithoutLayer(Rule):
    """``stacked_params_mapping`` names a fused layer that the port does not build.

    The first member of an entry, without its dots, is the attribute of no class of the port.

    Why: ``load_weights`` renames the parts to a parameter that does not exist, and the entry either raises a KeyError
    on the first checkpoint or, where unknown names are skipped, drops the layer's weights; the LoRA manager expands
    adapters to a layer that is not there.  Entries survive when a layer is renamed, or arrive with code taken from
    another port, as ``add_kv_proj`` did in HiDream of vllm-omni 0.30.0; mappings were corrected in #1659 and #2523.

    Fix: name the attribute that holds the fused layer, or delete the entry.
    """

    code = "OP110"
    name = "mapping-without-layer"
    VALID = (
        """
        class SelfAttention:
            def __init__(self):
                self.to_qkv = QKVParallelLinear(64, 16, 4)
        class Transformer:
            stacked_params_mapping = [(".to_qkv", ".to_q", "q"), (".to_qkv", ".to_k", "k"), (".to_qkv", ".to_v", "v")]
        """,
        """
        class Transformer:
            def __init__(self):
                for name in LAYERS:
                    setattr(self, name, QKVParallelLinear(64, 16, 4))
            stacked_params_mapping = [(".to_qkv", ".to_q", "q")]
        """,
    )
    INVALID = (
        """
        class SelfAttention:
            def __init__(self):
                self.qkv_proj = QKVParallelLinear(64, 16, 4)
        class Transformer:
            stacked_params_mapping = [(".to_qkv", ".to_q", "q"), (".to_qkv", ".to_k", "k"), (".to_qkv", ".to_v", "v")]
        """,
        """
        class FeedForward:
            def __init__(self):
                self.w13 = MergedColumnParallelLinear(64, [128, 128])
        class Transformer:
            def load_weights(self, weights):
                self.stacked_params_mapping = [("w13", "w1", 0), ("w13", "w3", 1), ("add_kv_proj", "add_q_proj", "q")]
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        if not any(file.mentions(STACKED) for file in port.files) or any(_hides_layers(port, f) for f in port.files):
            return
        built = {name for file in port.files for cls in file.nodes(ast.ClassDef) for name, _ in assigned(cls)}
        built |= {name for file in port.files for cls in file.nodes(ast.ClassDef) for name in class_attributes(cls)}
        # a list of layers, and a dict of them, hold names of their own
        built |= {str(n.value) for file in port.files for n in file.nodes(ast.Constant) if _is_key(file.parent(n), n)}
        for file in port.files:
            seen: set[str] = set()
            for entry in mapping_entries(file):
                fused = entry.fused.strip(".").rpartition(".")[2]
                if fused and fused not in built | seen and not fused.isdigit():
                    seen.add(fused)
                    yield self.at(file, entry.node, f"{entry.fused!r} is a layer that no class of the port builds")


def _is_key(parent: ast.AST | None, node: ast.Constant) -> bool:
    return isinstance(node.value, str) and isinstance(parent, ast.Dict) and node in parent.keys


def _hides_layers(port: Port, file: SourceFile) -> bool:
    """Whether attributes have computed names, or layers come from another model's file: not to be seen here."""
    if file.mentions("setattr(self") or file.mentions("add_module("):
        return True
    foreign = (name for name, origin in file.imports.items() if _MODELS.match(origin) and name.endswith(_WHOLE))
    return any(port.find_class(name, file) is None for name in foreign)
