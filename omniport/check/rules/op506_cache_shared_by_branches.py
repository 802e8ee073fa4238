"""OP506: both branches of guidance share one cache."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import SourceFile, constant, dotted, has_star, keyword


class CacheSharedByBranches(Rule):
    """Both branches of guidance share one cache.

    A port whose pipeline calls ``predict_noise_maybe_with_cfg`` declares a ``CacheDiTAdapterConfig`` without
    ``has_separate_cfg=True``; or with it, though each branch has a denoiser of its own (``"model"`` of its arguments).

    Why: guidance makes two forward passes per step. cache-dit tells them apart by counting, if it is told that there
    are two: if not, the negative branch is compared with, and filled from, the positive one, and the step counter runs
    twice as fast: so in SD3, FLUX, FLUX.2 and Klein of vllm-omni 0.30.0 whenever guidance is on (#379, #638, #3621).
    A denoiser that runs one branch alone makes one pass per step; told of two, it keeps every second step by itself.

    Fix: ``has_separate_cfg=True``; none where each branch has a denoiser of its own.
    """

    code = "OP506"
    name = "cache-shared-by-branches"
    VALID = (
        """
        config = CacheDiTAdapterConfig(block_forward_patterns=patterns, has_separate_cfg=True)
        def diffuse(self):
            return self.predict_noise_maybe_with_cfg(True, 4.0, p, n, False)
        """,
        """
        config = CacheDiTAdapterConfig(block_forward_patterns=patterns)
        def diffuse(self):
            return self.transformer(torch.cat([latents, latents]))
        """,
        """
        config = CacheDiTAdapterConfig(block_forward_patterns=patterns)
        def diffuse(self):
            p, n = {"model": self.transformer}, {"model": self.unconditional_transformer}
            return self.predict_noise_maybe_with_cfg(True, 4.0, p, n, False)
        """,
    )
    INVALID = (
        """
        config = CacheDiTAdapterConfig(block_forward_patterns=patterns)
        def diffuse(self):
            return self.predict_noise_maybe_with_cfg(True, 4.0, p, n, False)
        """,
        """
        config = CacheDiTAdapterConfig(block_forward_patterns=patterns, has_separate_cfg=False)
        def diffuse(self):
            return self.predict_noise_maybe_with_cfg(do_true_cfg=True, true_cfg_scale=4.0, cfg_normalize=False)
        """,
        """
        config = CacheDiTAdapterConfig(block_forward_patterns=patterns, has_separate_cfg=True)
        def diffuse(self):
            p, n = {"model": self.transformer}, {"model": self.unconditional_transformer}
            return self.predict_noise_maybe_with_cfg(True, 4.0, p, n, False)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        if not any(file.mentions("predict_noise_maybe_with_cfg(") for file in port.files):
            return
        apart = len({model for file in port.files for model in _models(file)}) > 1
        for file in port.files:
            if not file.mentions("CacheDiTAdapterConfig("):
                continue
            for call in file.calls("CacheDiTAdapterConfig"):
                given = keyword(call, "has_separate_cfg")
                if apart and given is not None and constant(given) is True:
                    yield self.at(file, call, "each branch has a denoiser of its own: has_separate_cfg=True is wrong")
                elif apart or has_star(call) or len(call.args) > 1:
                    continue
                elif given is None or constant(given) is False:
                    yield self.at(file, call, "two passes per step fill one cache: has_separate_cfg=True is missing")


def _models(file: SourceFile) -> Iterator[str]:
    """The denoisers that a branch names as its own: ``"model": self.X`` among its arguments."""
    if not file.mentions('"model"'):
        return
    for node in file.nodes(ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            name = dotted(value)
            if key is not None and constant(key) == "model" and name.startswith("self."):
                yield name
