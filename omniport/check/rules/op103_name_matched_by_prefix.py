"""OP103: a checkpoint name is matched by a text that another name starts with."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import SourceFile, constant, last_name, walk


class NameMatchedByPrefix(Rule):
    """A checkpoint name is matched by a text that the fused name starts with too.

    An entry ``(fused, part, shard)`` of the mapping is tested with ``part in name``, and ``fused`` itself begins with
    ``part``: ``".to_q"`` is in ``blocks.0.attn.to_qkv.weight`` as well as in ``blocks.0.attn.to_q.weight``.

    Why: a checkpoint that is fused already (saved from a running model, or quantised offline) has its ``to_qkv``
    renamed to ``to_qkvkv``: a KeyError at best, a silently skipped matrix where OP101 holds too.  Wan2.2 and FLUX.2
    have the dotted form, Qwen-Image tests both names; ten loaders of vllm-omni 0.30.0, FLUX and SD3 among them, do not.

    Fix: end both sides with the dot (``(".to_qkv.", ".to_q.", "q")``), or test ``f"{part}." in name``.
    """

    code = "OP103"
    name = "checkpoint-name-matched-by-prefix"
    VALID = (
        """
        MAPPING = [(".to_qkv.", ".to_q.", "q"), (".to_qkv.", ".to_k.", "k"), (".to_qkv.", ".to_v.", "v")]
        def load_weights(self, weights):
            for name, tensor in weights:
                for fused, part, shard in MAPPING:
                    if part not in name:
                        continue
        """,
        """
        MAPPING = [(".to_qkv", ".to_q", "q"), (".to_qkv", ".to_k", "k")]
        def load_weights(self, weights):
            for name, tensor in weights:
                for fused, part, shard in MAPPING:
                    if f"{part}." not in name:
                        continue
        """,
        """
        MAPPING = [(".add_kv_proj", ".add_q_proj", "q"), (".add_kv_proj", ".add_k_proj", "k")]
        def load_weights(self, weights):
            for name, tensor in weights:
                for fused, part, shard in MAPPING:
                    if part in name:
                        break
        """,
        """
        def load_weights(self, weights):
            params = dict(self.named_parameters())
            for name, tensor in weights:
                for fused, part, shard in [(".to_qkv", ".to_q", "q"), (".to_qkv", ".to_k", "k")]:
                    if part not in name:
                        continue
                    renamed = name.replace(part, fused)
                    if renamed not in params:
                        continue
        """,
    )
    INVALID = (
        """
        MAPPING = [(".to_qkv", ".to_q", "q"), (".to_qkv", ".to_k", "k")]
        def load_weights(self, weights):
            for name, tensor in weights:
                for fused, part, shard in MAPPING:
                    if part not in name:
                        continue
        """,
        """
        class Model:
            def load_weights(self, weights):
                stacked_params_mapping = [(".w13", ".w1", 0), (".w13", ".w3", 1)]
                for name, tensor in weights:
                    for fused, part, shard in stacked_params_mapping:
                        if part in name:
                            break
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("load_weights"):
                continue
            tested = _tested_bare(file)
            for node in file.nodes(ast.Tuple):
                texts = [constant(e) for e in node.elts]
                if len(texts) != 3 or not isinstance(texts[0], str) or not isinstance(texts[1], str):
                    continue
                fused, part = texts[0], texts[1]
                if fused == part or not part.startswith(".") or not _inside(part, fused):
                    continue
                if tested and isinstance(file.parent(node), ast.List | ast.Tuple):
                    yield self.at(file, node, f"{part!r} is also in names that hold {fused!r}: end both with a dot")


def _inside(part: str, fused: str) -> bool:
    """Whether a fused name contains ``part`` as an unfinished word, so that a test for ``part`` hits it."""
    return part in fused and not part.endswith(".")


def _tested_bare(file: SourceFile) -> bool:
    """Whether some loop over three-tuples tests its second variable with ``in`` as it stands, and nothing else.

    A test of the first variable too (``fused in name``), or going on where the new name is no parameter, leaves
    fused names alone.
    """
    for loop in file.nodes(ast.For):
        if not isinstance(loop.target, ast.Tuple) or len(loop.target.elts) != 3:
            continue
        names = [last_name(e) for e in loop.target.elts]
        tests = [n for n in walk(loop) if isinstance(n, ast.Compare) and isinstance(n.ops[0], ast.In | ast.NotIn)]
        compared = {last_name(test.left) for test in tests}
        if names[1] in compared and names[0] not in compared and not any(_goes_on(n, names[1]) for n in loop.body):
            return True
    return False


def _goes_on(node: ast.stmt, part: str) -> bool:
    """``if renamed not in params: continue``: the entry does not count where its result is no parameter."""
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Compare)
        and isinstance(node.test.ops[0], ast.NotIn)
        and last_name(node.test.left) != part
        and isinstance(node.body[-1], ast.Continue)
    )
