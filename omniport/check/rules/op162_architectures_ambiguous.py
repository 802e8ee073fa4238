"""OP162: a config.json is written from which vLLM-Omni cannot tell the pipeline."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import constant


class ArchitecturesAmbiguous(Rule):
    """A ``config.json`` is written from which vLLM-Omni cannot tell the pipeline.

    A dictionary has ``architectures`` with no entry or with several, or with one that the tree's registry does not
    have.

    Why: a repository without ``model_index.json`` is known by its root ``config.json``: vllm-omni 0.30.0 takes
    ``architectures[0]`` if it is the only entry, and otherwise a fixed list of model types, in which a new model is
    not (measured).

    Fix: ``"architectures": ["XPipeline"]``, the key of the registry's row; or write a ``model_index.json``.
    """

    code = "OP162"
    name = "architectures-ambiguous"
    VALID = (
        """
        CONFIG = {"architectures": ["ExamplePipeline"], "hidden_size": 64}
        """,
        """
        def names(config):
            return {"architectures": config.architectures}
        """,
    )
    INVALID = (
        """
        CONFIG = {"architectures": ["ExamplePipeline", "ExampleModel"], "hidden_size": 64}
        """,
        """
        CONFIG = {"architectures": [], "hidden_size": 64}
        """,
        """
        CONFIG = {"architectures": ["ExampleModel"], "hidden_size": 64}
        """,
    )
    TREE = {
        "vllm_omni/diffusion/registry.py": (
            '_DIFFUSION_MODELS = {"ExamplePipeline": ("example", "example", "ExamplePipeline")}\n'
        )
    }

    def check(self, port: Port) -> Iterator[Finding]:
        known = port.registered
        for file in port.files:
            if not file.mentions("architectures"):
                continue
            for table in file.nodes(ast.Dict):
                for key, value in zip(table.keys, table.values, strict=True):
                    if key is None or constant(key) != "architectures" or not isinstance(value, ast.List | ast.Tuple):
                        continue
                    name = constant(value.elts[0]) if value.elts else None
                    if len(value.elts) != 1:
                        yield self.at(file, value, f"{len(value.elts)} entries; exactly one is taken for the pipeline")
                    elif isinstance(name, str) and known is not None and name not in known:
                        yield self.at(file, value, f"the registry has no row {name!r}")
