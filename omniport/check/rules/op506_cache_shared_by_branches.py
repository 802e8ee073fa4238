"""OP506: both branches of guidance share one cache."""

from __future__ import annotations

from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import constant, has_star, keyword


class CacheSharedByBranches(Rule):
    """Both branches of guidance share one cache.

    A port whose pipeline calls ``predict_noise_maybe_with_cfg`` declares a ``CacheDiTAdapterConfig`` without
    ``has_separate_cfg=True``.

    Why: guidance makes two forward passes per step. cache-dit tells them apart by counting, if it is told that there
    are two: if not, the negative branch is compared with, and filled from, the positive one, and the step counter runs
    twice as fast.  So in SD3, FLUX, FLUX.2 and Klein of vllm-omni 0.30.0 whenever guidance is on (#379, #638, #3621).

    Fix: ``has_separate_cfg=True``.
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
    )

    def check(self, port: Port) -> Iterator[Finding]:
        if not any(file.mentions("predict_noise_maybe_with_cfg(") for file in port.files):
            return
        for file in port.files:
            if not file.mentions("CacheDiTAdapterConfig("):
                continue
            for call in file.calls("CacheDiTAdapterConfig"):
                given = keyword(call, "has_separate_cfg")
                if not has_star(call) and len(call.args) < 2 and (given is None or constant(given) is False):
                    yield self.at(file, call, "two passes per step fill one cache: has_separate_cfg=True is missing")
