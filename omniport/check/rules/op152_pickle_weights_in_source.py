"""OP152: a weight source asks for a pickle file, which the loader cannot read."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import last_name

_PICKLES = (".bin", ".ckpt", ".pt", ".pth")


class PickleWeightsInSource(Rule):
    """A weight source asks for a pickle file, which the loader cannot read.

    A ``ComponentSource`` names a file or pattern that ends in ``.pth``, ``.pt``, ``.ckpt`` or ``.bin``.

    Why: the standard loader of vllm-omni 0.30.0 hands whatever it finds to the safetensors reader, which dies with
    "header too large"; ``.pth`` is not looked for at all, and ``fall_back_to_pt`` does not change that (measured).

    Fix: convert the checkpoint to safetensors in the download script, or read it in ``__init__`` with
    ``torch.load(path, weights_only=True)`` and leave it out of the sources.
    """

    code = "OP152"
    name = "pickle-weights-in-source"
    VALID = (
        """
        def __init__(self, model):
            self.weights_sources = [ComponentSource(model, None, None, allow_patterns_overrides=["model.safetensors"])]
        """,
        """
        def load(path):
            return torch.load(path / "vae.pth", weights_only=True)
        """,
    )
    INVALID = (
        """
        def __init__(self, model):
            self.weights_sources = [ComponentSource(model, None, None, allow_patterns_overrides=["*.pth"])]
        """,
        """
        def __init__(self, model):
            source = DiffusersPipelineLoader.ComponentSource(
                model_or_path=model, subfolder="vae", revision=None, allow_patterns_overrides=["diffusion.bin"]
            )
            self.weights_sources = [source]
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("ComponentSource"):
                continue
            for call in file.nodes(ast.Call):
                if last_name(call.func) != "ComponentSource":
                    continue
                for node in file.nodes(ast.Constant, within=call):
                    if isinstance(node.value, str) and node.value.endswith(_PICKLES):
                        yield self.at(file, node, f"{node.value!r} is a pickle; the loader reads safetensors only")
