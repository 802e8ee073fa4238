"""OP109: load_weights of a pipeline with weight sources returns nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import Function, method, walk
from omniport.check.weights import declares_sources


class LoadedNamesNotReturned(Rule):
    """``load_weights`` of a pipeline with weight sources returns nothing.

    The class sets ``weights_sources``, and its ``load_weights`` has no ``return`` with a value.

    Why: the loader reads None as "do not check" (model_loader/diffusers_loader.py): parameters that no tensor filled
    go unnoticed.  For a pipeline that loads everything itself None is right; with sources it hides what the loader
    would have found.  The check exists since vllm-omni 0.18, and ports of before were corrected in #1659 and #1728.

    Fix: ``return AutoWeightsLoader(self).load_weights(weights)``.
    """

    code = "OP109"
    name = "loaded-names-not-returned"
    VALID = (
        """
        class Pipeline:
            def __init__(self, *, od_config):
                self.weights_sources = [DiffusersPipelineLoader.ComponentSource(od_config.model, "transformer", None)]
            def load_weights(self, weights):
                return AutoWeightsLoader(self).load_weights(weights)
        """,
        """
        class Bypass:
            def load_weights(self, weights):
                pass
        """,
    )
    INVALID = (
        """
        class Pipeline:
            def __init__(self, *, od_config):
                self.weights_sources = [DiffusersPipelineLoader.ComponentSource(od_config.model, "transformer", None)]
            def load_weights(self, weights):
                AutoWeightsLoader(self).load_weights(weights)
        """,
        """
        class Pipeline:
            def __init__(self, *, od_config):
                self.weights_sources = [DiffusersPipelineLoader.ComponentSource(od_config.model, "transformer", None)]
            def load_weights(self, weights):
                for name, tensor in weights:
                    self.params[name].data.copy_(tensor)
                return
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("weights_sources"):
                continue
            for cls in file.nodes(ast.ClassDef):
                loader = method(cls, "load_weights")
                if loader is not None and declares_sources(cls) and not _gives_names(loader):
                    yield self.at(file, loader, f"{cls.name}.load_weights returns None, which switches the check off")


def _gives_names(function: Function) -> bool:
    return any(
        (isinstance(n, ast.Return) and n.value is not None and not _none(n.value)) or isinstance(n, ast.Raise)
        for n in walk(function)
    )


def _none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
