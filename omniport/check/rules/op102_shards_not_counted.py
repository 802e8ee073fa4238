"""OP102: a fused parameter counts as loaded after its first shard."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import SourceFile, last_name, walk
from omniport.check.weights import loaders, weight_loops

_KEEPING = frozenset({"add", "append", "discard", "remove", "setdefault", "update"})


class ShardsNotCounted(Rule):
    """A fused parameter counts as loaded after its first shard.

    ``load_weights`` fills shards of a fused parameter (q, k, v of ``to_qkv``), but the shard id goes to the weight
    loader only and is recorded nowhere.

    Why: the loader compares names, so ``to_qkv.weight`` passes its check as soon as ``to_q`` has arrived; with
    ``to_v`` missing, a third of the matrix stays uninitialised memory and the model runs on it.  In vllm-omni 0.30.0
    Wan2.2, Boogu and MiniMax-H3 alone keep the shards they have seen, 23 other loaders do not.

    Fix: record (parameter, shard) and report a parameter as loaded when all of its shards are there.
    """

    code = "OP102"
    name = "fused-shards-not-counted"
    VALID = (
        """
        class Model:
            def load_weights(self, weights):
                params, seen = dict(self.named_parameters()), {}
                for name, tensor in weights:
                    for fused, part, shard in MAPPING:
                        if part in name:
                            param = params[name.replace(part, fused)]
                            param.weight_loader(param, tensor, shard)
                            seen.setdefault(name.replace(part, fused), set()).add(shard)
                            break
        """,
        """
        class Model:
            def load_weights(self, weights):
                params, filled = dict(self.named_parameters()), set()
                for name, tensor in weights:
                    target, shard = destination(name)
                    params[target].weight_loader(params[target], tensor, shard)
                    filled.add((target, shard))
        """,
        """
        class Model:
            def load_weights(self, weights):
                params = dict(self.named_parameters())
                for name, tensor in weights:
                    gate, up = tensor.chunk(2)
                    params[name].weight_loader(params[name], gate, 0)
                    params[name].weight_loader(params[name], up, 1)
        """,
    )
    INVALID = (
        """
        class Model:
            def load_weights(self, weights):
                params, loaded = dict(self.named_parameters()), set()
                for name, tensor in weights:
                    for fused, part, shard in MAPPING:
                        if part in name:
                            name = name.replace(part, fused)
                            params[name].weight_loader(params[name], tensor, shard)
                            break
                    loaded.add(name)
                return loaded
        """,
        """
        class Model:
            def load_weights(self, weights):
                params, loaded = dict(self.named_parameters()), set()
                for name, tensor in weights:
                    name, shard = destination(name)
                    weight_loader = params[name].weight_loader
                    if shard is None:
                        weight_loader(params[name], tensor)
                    else:
                        weight_loader(params[name], tensor, shard)
                    loaded.add(name)
                return loaded
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file, function in loaders(port):
            for loop in weight_loops(function):
                for call in file.calls("weight_loader", within=loop):
                    shard = call.args[2] if len(call.args) == 3 else None
                    if isinstance(shard, ast.Name) and not _recorded(file, loop, shard.id):
                        yield self.at(
                            file, call, f"shard {shard.id!r} is loaded but not recorded: a missing one goes unnoticed"
                        )
                        break
                else:
                    continue
                break


def _recorded(file: SourceFile, loop: ast.For, shard: str) -> bool:
    """Whether the shard id is kept: given to a method of a container, part of a key, or handed on with the name."""
    for node in walk(loop):
        if not isinstance(node, ast.Name) or node.id != shard or not isinstance(node.ctx, ast.Load):
            continue
        for parent in file.parents(node):
            if isinstance(parent, ast.Call) and last_name(parent.func) in _KEEPING:
                return True
            if isinstance(parent, ast.Subscript):
                return True
            if isinstance(parent, ast.stmt | ast.Call):
                break
    return False
