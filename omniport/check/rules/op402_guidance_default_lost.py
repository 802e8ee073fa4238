"""OP402: a request without guidance_scale does not get the model's default."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.requests import mentions_attribute, sampling_reads


class GuidanceDefaultLost(Rule):
    """A request without ``guidance_scale`` does not get the model's default.

    A function takes ``guidance_scale`` from the sampling parameters and does not ask ``guidance_scale_provided``;
    comparing it is not meant.

    Why: a scale that the client left out reaches the pipeline as 1.0, never as None (``OmniDiffusionRequest`` fills
    it in before), so ``x if x is not None else default`` never fires, and neither does a default in the signature.
    Guidance is then off, or 1.0 is embedded: FLUX 3.5, SD3 7.0, Ovis 5.0 and LongCat 4.5 in diffusers all become 1.0 in
    vllm-omni 0.30.0.  #5615 corrected it in Wan2.2.

    Fix: ``scale = sampling.guidance_scale if sampling.guidance_scale_provided else <the reference's default>``.
    """

    code = "OP402"
    name = "guidance-default-lost"
    VALID = (
        """
        def forward(self, req, guidance_scale=3.5):
            sampling = req.sampling_params
            scale = sampling.guidance_scale if sampling.guidance_scale_provided else guidance_scale
        """,
        """
        def forward(self, req, guidance_scale=3.5):
            if req.sampling_params.guidance_scale_provided:
                guidance_scale = req.sampling_params.guidance_scale
        """,
        """
        def forward(self, req):
            steps = req.sampling_params.num_inference_steps
            return self.guidance_scale * steps
        """,
    )
    INVALID = (
        """
        def forward(self, req, guidance_scale=3.5):
            sampling = req.sampling_params
            scale = sampling.guidance_scale if sampling.guidance_scale is not None else guidance_scale
        """,
        """
        def forward(self, req, guidance_scale=3.5):
            guidance_scale = req.sampling_params.guidance_scale
        """,
        """
        def forward(self, req):
            sp = req.sampling_params
            scale = sp.guidance_scale or 3.5
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            seen: set[ast.AST] = set()
            for node in sampling_reads(file, "guidance_scale"):
                if isinstance(file.parent(node), ast.Compare):
                    continue
                function = file.enclosing_function(node)
                if function is None or function in seen:
                    continue
                seen.add(function)
                if not mentions_attribute(function, "guidance_scale_provided"):
                    yield self.at(file, node, "an omitted guidance_scale is read as 1.0, not as the model's default")
