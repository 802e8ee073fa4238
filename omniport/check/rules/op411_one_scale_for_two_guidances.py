"""OP411: one scale is both the embedded guidance and the factor between two branches."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.requests import embedded_scale
from omniport.check.source import keyword, last_name


class OneScaleForTwoGuidances(Rule):
    """One scale is both the embedded guidance and the factor between two branches.

    A method fills a tensor with ``guidance_scale``, which the transformer takes as its ``guidance``, and gives the same
    scale as ``true_cfg_scale`` to ``predict_noise_maybe_with_cfg`` or to the method that calls it.

    Why: a distilled model has learned what its embedded scale means; the difference of two branches has another range.
    In FLUX.2 of vllm-omni 0.30.0 a negative prompt turns both on at the default 4.0, which over-saturates, and there is
    no way to ask for one of them; FLUX keeps ``true_cfg_scale`` apart.

    Fix: take the factor between the branches from ``sampling_params.true_cfg_scale``.
    """

    code = "OP411"
    name = "one-scale-for-two-guidances"
    VALID = (
        """
        def forward(self, req):
            guidance = torch.full([1], self.guidance_scale)
            self.transformer(latents, guidance=guidance)
            noise = self.predict_noise_maybe_with_cfg(True, true_cfg_scale=req.sampling_params.true_cfg_scale)
        """,
        """
        def forward(self, req):
            noise = self.predict_noise_maybe_with_cfg(do_true_cfg=True, true_cfg_scale=self.guidance_scale)
        """,
    )
    INVALID = (
        """
        def forward(self, req):
            guidance = torch.full([1], self.guidance_scale)
            kwargs = {"hidden_states": latents, "guidance": guidance}
            noise = self.predict_noise_maybe_with_cfg(True, true_cfg_scale=self.guidance_scale, positive_kwargs=kwargs)
        """,
        """
        def forward(self, req, guidance_scale=4.0):
            guidance = torch.full([1], guidance_scale).expand(2)
            noise = self.predict_noise_maybe_with_cfg(True, guidance_scale, dict(guidance=guidance), None)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("predict_noise_maybe_with_cfg") or not file.mentions("guidance"):
                continue
            for call in file.nodes(ast.Call):
                scale = keyword(call, "true_cfg_scale")
                if scale is None and last_name(call.func) == "predict_noise_maybe_with_cfg" and len(call.args) > 1:
                    scale = call.args[1]
                function = file.enclosing_function(call)
                if scale is None or function is None or last_name(scale) not in ("guidance_scale", "_guidance_scale"):
                    continue
                if embedded_scale(file, function):
                    yield self.at(file, scale, "the same scale is embedded as guidance")
