"""OP410: guidance is off unless a negative prompt is given."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.requests import embedded_scale
from omniport.check.source import constant, last_name


class GuidanceNeedsNegativePrompt(Rule):
    """Guidance is off unless a negative prompt is given.

    Whether two branches run is ``guidance_scale > 1 and`` a negative prompt was given, and the scale is embedded
    nowhere.  Embeddings may be asked for: those of the empty prompt are there once guidance is on.

    Why: pipelines that call their scale ``guidance_scale`` guide against the empty prompt where no other is given; only
    those with a ``true_cfg_scale`` wait for one.  LongCat-Image-Edit of vllm-omni 0.30.0 so ignores the scale of every
    request without a negative prompt, and gives a blurred image without a message.

    Fix: ``negative_prompt = negative_prompt or ""``, and let the scale alone decide.
    """

    code = "OP410"
    name = "guidance-needs-negative-prompt"
    VALID = (
        """
        def forward(self, req, negative_prompt=""):
            guidance_scale = req.sampling_params.guidance_scale
            do_classifier_free_guidance = guidance_scale > 1
        """,
        """
        def forward(self, req, negative_prompt=None):
            true_cfg_scale = req.sampling_params.true_cfg_scale
            do_true_cfg = true_cfg_scale > 1 and negative_prompt is not None
        """,
    )
    INVALID = (
        """
        def forward(self, req, negative_prompt=None):
            guidance_scale = req.sampling_params.guidance_scale
            do_true_cfg = guidance_scale > 1 and negative_prompt is not None
        """,
        """
        def forward(self, req, negative_prompt=None):
            has_negative_prompt = negative_prompt is not None
            do_cfg = has_negative_prompt and self.guidance_scale > 1.0
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("guidance_scale") or not file.mentions("negative"):
                continue
            for test in file.nodes(ast.BoolOp):
                function = file.enclosing_function(test)
                if (
                    not isinstance(test.op, ast.And)
                    or function is None
                    or not isinstance(file.parent(test), ast.Assign)
                ):
                    continue
                scale = next((v for v in test.values if _above_one(v)), None)
                if scale is None or not any(_given(value) for value in test.values):
                    continue
                if not embedded_scale(file, function):
                    yield self.at(file, test, "the scale is ignored where a request has no negative prompt")


def _above_one(node: ast.expr) -> bool:
    """``guidance_scale > 1``."""
    if not isinstance(node, ast.Compare) or last_name(node.left) not in ("guidance_scale", "_guidance_scale"):
        return False
    return isinstance(node.ops[0], ast.Gt) and constant(node.comparators[0]) == 1


def _given(node: ast.expr) -> bool:
    """Whether an expression says that a negative prompt was given."""
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.IsNot):
        return last_name(node.left) == "negative_prompt"
    return isinstance(node, ast.Name) and node.id.startswith(("has_neg", "use_neg"))
