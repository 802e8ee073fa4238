"""OP404: CFG parallelism is declared and not used."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import last_name

_MIXIN = "CFGParallelMixin"
#: what makes the mixin split guidance over ranks
_USES = ("predict_noise_maybe_with_cfg", "predict_noise_with_multi_branch_cfg", "get_classifier_free_guidance")


class CfgParallelUnused(Rule):
    """CFG parallelism is declared and not used.

    A pipeline has ``CFGParallelMixin`` among its bases, and no file of the port calls one of the mixin's predictions
    or asks for the rank in the CFG group.

    Why: with ``--cfg-parallel-size 2`` both ranks compute both branches; twice the machines, no gain, no message.
    ERNIE-Image and HiDream of vllm-omni 0.30.0 inherit the mixin and batch positive and negative all the same.

    Fix: ``predict_noise_maybe_with_cfg(..., positive_kwargs=..., negative_kwargs=...)`` in the loop, or drop the base.
    """

    code = "OP404"
    name = "cfg-parallel-unused"
    VALID = (
        """
        class Pipeline(nn.Module, CFGParallelMixin):
            def diffuse(self):
                return self.predict_noise_maybe_with_cfg(True, 4.0, p, n, cfg_normalize=False)
        """,
        """
        class Pipeline(nn.Module):
            def diffuse(self):
                return self.transformer(torch.cat([latents, latents]))
        """,
    )
    INVALID = (
        """
        class Pipeline(nn.Module, CFGParallelMixin):
            def diffuse(self):
                return self.transformer(torch.cat([latents, latents]))
        """,
        """
        class Pipeline(nn.Module, CFGParallelMixin, ProgressBarMixin):
            def forward(self, req):
                noise = self.transformer(latents)
                return self.scheduler_step_maybe_with_cfg(noise, t, latents, True)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        if any(file.mentions(use) for file in port.files for use in _USES):
            return
        for file in port.files:
            if file.mentions(_MIXIN):
                for cls in file.nodes(ast.ClassDef):
                    for base in cls.bases:
                        if last_name(base) == _MIXIN:
                            yield self.at(file, base, f"{cls.name} inherits {_MIXIN} and predicts without it")
