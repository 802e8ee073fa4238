"""OP151: load_weights of a pipeline that loads everything itself returns an empty set."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.modules import inherits, is_loaded_model, layers
from omniport.check.port import Port
from omniport.check.source import SourceFile, last_name, method
from omniport.check.weights import declares_sources


class BypassReturnsEmptySet(Rule):
    """``load_weights`` of a pipeline that loads everything itself returns an empty set.

    The class registers modules, has no weight sources, and its ``load_weights`` returns ``set()`` as it stands.

    Why: without ``weights_sources`` the loader expects every parameter of the pipeline, and an empty set says that
    none was loaded: start-up ends in a ValueError that lists them all (measured on vllm-omni 0.30.0).  None means
    "nothing to check": pi0 returns it; GR00T's ``set()`` passes only because its policy is no module.

    Fix: ``return None``.
    """

    code = "OP151"
    name = "bypass-returns-empty-set"
    VALID = (
        """
        class Pipeline(nn.Module):
            def __init__(self, *, od_config):
                self.model = Model()
            def load_weights(self, weights):
                return None
        """,
        """
        class Pipeline(nn.Module):
            def __init__(self, *, od_config):
                self.weights_sources = [DiffusersPipelineLoader.ComponentSource(od_config.model, "transformer", None)]
                self.model = Model()
            def load_weights(self, weights):
                loaded = set()
                loaded |= AutoWeightsLoader(self).load_weights(weights)
                return loaded
        """,
    )
    INVALID = (
        """
        class Policy(nn.Module):
            pass
        class Pipeline(nn.Module):
            def __init__(self, *, od_config):
                self.policy = Policy()
            def load_weights(self, weights):
                return set()
        """,
        """
        class Pipeline(nn.Module):
            def __init__(self, *, od_config):
                self.weights_sources = []
                self.vae = AutoencoderKL.from_pretrained(od_config.model)
            def load_weights(self, weights):
                for _ in weights:
                    pass
                return set()
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("load_weights"):
                continue
            for cls in file.nodes(ast.ClassDef):
                loader = method(cls, "load_weights")
                if loader is None or "Pipeline" not in cls.name or declares_sources(cls):
                    continue
                if not _has_modules(port, file, cls):
                    continue
                for node in file.nodes(ast.Return, within=loader):
                    call = node.value
                    if isinstance(call, ast.Call) and last_name(call.func) == "set" and not call.args:
                        yield self.at(file, node, f"without weights_sources {cls.name} must return None, not set()")


def _has_modules(port: Port, file: SourceFile, cls: ast.ClassDef) -> bool:
    """Whether the class is a module and surely holds parameters: a loaded model, or a module of the port."""
    if not any(last_name(base) == "Module" for base in cls.bases):
        return False
    for _, call in layers(cls):
        found = port.find_class(last_name(call.func), file)
        if is_loaded_model(call) or (found is not None and inherits(port, *found, "Module")):
            return True
    return False
