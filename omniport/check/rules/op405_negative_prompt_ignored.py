"""OP405: the negative prompt of a request is not read although guidance needs one."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.requests import sampling_reads
from omniport.check.source import parameters


class NegativePromptIgnored(Rule):
    """The negative prompt of a request is not read although guidance needs one.

    A function has a parameter ``negative_prompt`` and takes ``guidance_scale`` or ``true_cfg_scale`` from the sampling
    parameters, and no string of the port is the request's field ``negative_prompt``.

    Why: the request carries the field in the prompt's dict; a pipeline that never looks it up guides away from an
    empty prompt whatever the user wrote.  So does ERNIE-Image of vllm-omni 0.30.0; the defaults of negative prompts
    were corrected in #1634 and #3956.

    Fix: ``negative_prompt = req.get_prompt_field(prompt, "negative_prompt")``.
    """

    code = "OP405"
    name = "negative-prompt-ignored"
    VALID = (
        """
        def forward(self, req):
            scale = req.sampling_params.guidance_scale
            negative_prompt_embeds = self.encode(req.prompts[0].get("negative_prompt"))
        """,
        """
        def forward(self, req):
            scale = req.sampling_params.guidance_scale
            return self.embed(scale)
        """,
    )
    INVALID = (
        """
        def forward(self, req, negative_prompt=""):
            scale = req.sampling_params.guidance_scale
            negative_embeds = self.encode(negative_prompt)
        """,
        """
        def forward(self, req, prompt=None, negative_prompt=None):
            sampling = req.sampling_params
            if sampling.true_cfg_scale > 1:
                negative_prompt_embeds = self.encode_prompt([negative_prompt or ""])
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        texts = [n for f in port.files if f.mentions("negative_prompt") for n in f.nodes(ast.Constant)]
        if any(node.value == "negative_prompt" for node in texts):
            return
        attributes = [n for f in port.files if f.mentions(".negative_prompt") for n in f.nodes(ast.Attribute)]
        if any(node.attr == "negative_prompt" for node in attributes):
            return
        for file in port.files:
            for field in ("guidance_scale", "true_cfg_scale"):
                for node in sampling_reads(file, field):
                    function = file.enclosing_function(node)
                    if "negative_prompt" in parameters(function):
                        yield self.at(file, node, "guidance is read here, the request's negative_prompt nowhere")
                        return
