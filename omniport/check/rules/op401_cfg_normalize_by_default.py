"""OP401: guidance is renormalised because cfg_normalize is left to its default."""

from __future__ import annotations

from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import has_star, keyword


class CfgNormalizeByDefault(Rule):
    """Guidance is renormalised because ``cfg_normalize`` is left to its default.

    A call of ``predict_noise_maybe_with_cfg`` gives no ``cfg_normalize``.

    Why: the default is True: the guided prediction is scaled back to the norm of the positive one
    (distributed/cfg_parallel.py).  Few diffusers pipelines do that (Qwen-Image does, FLUX, SD3 and Wan do not), so the
    default gives other images and no error.  Guidance of merged ports was corrected in #1634, #1956 and #4999.

    Fix: always say it: ``cfg_normalize=False`` for plain guidance, True where the reference rescales.
    """

    code = "OP401"
    name = "cfg-normalize-by-default"
    VALID = (
        """
        def diffuse(self):
            return self.predict_noise_maybe_with_cfg(
                do_true_cfg=True, true_cfg_scale=4.0, positive_kwargs=p, negative_kwargs=n, cfg_normalize=False
            )
        """,
        """
        def diffuse(self, cfg_normalize):
            return self.predict_noise_maybe_with_cfg(do_cfg, scale, positive, negative, cfg_normalize)
        """,
        """
        def diffuse(self, **kwargs):
            return self.predict_noise_maybe_with_cfg(**kwargs)
        """,
    )
    INVALID = (
        """
        def diffuse(self):
            return self.predict_noise_maybe_with_cfg(
                do_true_cfg=True, true_cfg_scale=4.0, positive_kwargs=p, negative_kwargs=n
            )
        """,
        """
        def diffuse(self):
            return self.predict_noise_maybe_with_cfg(do_cfg, scale, positive, negative, output_slice=4096)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("predict_noise_maybe_with_cfg"):
                continue
            for call in file.calls("predict_noise_maybe_with_cfg"):
                if len(call.args) < 5 and keyword(call, "cfg_normalize") is None and not has_star(call):
                    yield self.at(file, call, "cfg_normalize is not given, and its default renormalises the guidance")
