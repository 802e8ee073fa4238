"""OP157: one weight source streams several files that are no shards of one checkpoint."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import SourceFile, constant, has_star, keyword, last_name
from omniport.check.weights import sources

_SHARD = re.compile(r"-\d+-of-\d+|[*?\[]")
_READERS = frozenset({"hf_hub_download", "join", "load_file", "safe_open"})


class SourceOfSeveralFiles(Rule):
    """One weight source streams several files that are no shards of one checkpoint.

    ``allow_patterns_overrides`` lists two or more file names, or a source reads the whole root of the repository
    while its class loads one safetensors file of that root itself.

    Why: the names of all files of a source are put into one stream, under one prefix.  Where two files have a tensor
    of the same name (an autoencoder beside a denoiser: both have ``encoder.``), the one streamed last wins and
    nothing is reported (measured on vllm-omni 0.30.0); BAGEL's port has to guess the file from the name.

    Fix: one ``ComponentSource`` per file, each with ``allow_patterns_overrides=["ae.safetensors"]`` and its own
    prefix.
    """

    code = "OP157"
    name = "source-of-several-files"
    VALID = (
        """
        class Pipeline:
            def __init__(self, model):
                self.weights_sources = [
                    ComponentSource(model, None, None, "model.", allow_patterns_overrides=["ema.safetensors"]),
                    ComponentSource(model, None, None, "vae.", allow_patterns_overrides=["ae.safetensors"]),
                ]
        """,
        """
        class Pipeline:
            def __init__(self, model):
                self.weights_sources = [
                    ComponentSource(model, None, None, "model.", allow_patterns_overrides=["model-*.safetensors"]),
                ]
                self.vae.load_state_dict(load_file(os.path.join(model, "ae.safetensors")))
        """,
        """
        class Pipeline:
            def __init__(self, model):
                self.weights_sources = [ComponentSource(model, subfolder="transformer", revision=None, prefix="dit.")]
                self.vae.load_state_dict(load_file(os.path.join(model, "ae.safetensors")))
        """,
    )
    INVALID = (
        """
        class Pipeline:
            def __init__(self, model):
                self.weights_sources = [
                    ComponentSource(
                        model, None, None, "model.", allow_patterns_overrides=["ema.safetensors", "ae.safetensors"]
                    ),
                ]
        """,
        """
        class Pipeline:
            def __init__(self, model):
                self.weights_sources = [ComponentSource(model, subfolder=None, revision=None, prefix="model.")]
                self.vae.load_state_dict(load_file(os.path.join(model, "ae.safetensors")))
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("ComponentSource"):
                continue
            for cls in file.nodes(ast.ClassDef):
                for call in sources(cls):
                    patterns = keyword(call, "allow_patterns_overrides") or (
                        call.args[5] if len(call.args) > 5 else None
                    )
                    if isinstance(patterns, ast.List | ast.Tuple):
                        names = [value for node in patterns.elts if isinstance(value := constant(node), str)]
                        whole = [name for name in names if not _SHARD.search(name)]
                        if len(whole) > 1:
                            yield self.at(
                                file, patterns, f"tensors of one name in {' and '.join(whole)} would replace each other"
                            )
                    elif patterns is None and _of_the_root(call):
                        for node, name in _read_from_root(file, cls):
                            yield self.at(file, node, f"{name} is also in the stream of the source without a pattern")


def _of_the_root(call: ast.Call) -> bool:
    """Whether ``subfolder`` is None, visibly."""
    node = keyword(call, "subfolder") or (call.args[1] if len(call.args) > 1 else None)
    return isinstance(node, ast.Constant) and node.value is None and not has_star(call)


def _read_from_root(file: SourceFile, cls: ast.ClassDef) -> Iterator[tuple[ast.AST, str]]:
    """File names without folder that the class gives to a reader of its own."""
    for call in file.nodes(ast.Call, within=cls):
        if last_name(call.func) in _READERS and not any(isinstance(constant(a), str) for a in call.args[:-1][1:]):
            name = constant(call.args[-1]) if call.args else None
            if isinstance(name, str) and name.endswith(".safetensors") and "/" not in name:
                yield call, name
