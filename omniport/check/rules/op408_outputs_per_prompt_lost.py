"""OP408: prompts are not repeated for several images although latents are."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import Function, SourceFile, dotted, has_star, keyword, last_name, method

_COUNTS = frozenset(
    {"num_images_per_prompt", "num_outputs_per_prompt", "num_videos_per_prompt", "num_waveforms_per_prompt"}
)


class OutputsPerPromptLost(Rule):
    """Prompts are not repeated for several images although latents are.

    A method multiplies by ``num_images_per_prompt`` (or ``num_outputs_per_prompt``) and calls ``encode_prompt`` of its
    class without it, though that has a parameter for it with a default.

    Why: with two images per prompt and more than one prompt the embeddings have one row per prompt, the latents two: an
    error in the first block, or rows that meet the wrong prompt.  SD3 of vllm-omni 0.30.0 leaves it out; diffusers
    passes it.

    Fix: ``self.encode_prompt(..., num_images_per_prompt=num_images_per_prompt)``.
    """

    code = "OP408"
    name = "outputs-per-prompt-lost"
    VALID = (
        """
        class Pipeline:
            def encode_prompt(self, prompt, num_images_per_prompt=1):
                return prompt
            def forward(self, req, num_images_per_prompt):
                embeds = self.encode_prompt(req.prompts, num_images_per_prompt=num_images_per_prompt)
                return self.prepare_latents(len(req.prompts) * num_images_per_prompt)
        """,
        """
        class Pipeline:
            def encode_prompt(self, prompt, num_images_per_prompt=1):
                return prompt
            def forward(self, req):
                return self.encode_prompt(req.prompts)
        """,
    )
    INVALID = (
        """
        class Pipeline:
            def encode_prompt(self, prompt, num_images_per_prompt=1):
                return prompt
            def forward(self, req, num_images_per_prompt):
                embeds = self.encode_prompt(req.prompts)
                return self.prepare_latents(len(req.prompts) * num_images_per_prompt)
        """,
        """
        class Pipeline:
            def encode_prompt(self, prompt, device=None, num_images_per_prompt: int = 1, max_length=512):
                return prompt
            def forward(self, req):
                count = req.sampling_params.num_outputs_per_prompt
                embeds = self.encode_prompt(prompt=req.prompts, max_length=256)
                return self.prepare_latents(self.batch * req.sampling_params.num_outputs_per_prompt)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("encode_prompt") or not any(file.mentions(name) for name in _COUNTS):
                continue
            for cls in file.nodes(ast.ClassDef):
                encode = method(cls, "encode_prompt")
                taken = _COUNTS & _optional(encode)
                for call in file.calls("encode_prompt", within=cls) if taken else ():
                    function = file.enclosing_function(call)
                    if dotted(call.func) != "self.encode_prompt" or has_star(call) or function is None:
                        continue
                    if _multiplies(file, function) and not _given(encode, call, taken):
                        message = f"latents are repeated per prompt; {min(taken)} is not passed to encode_prompt"
                        yield self.at(file, call, message)
                        break


def _optional(function: Function | None) -> set[str]:
    """The parameters of a method that a call may leave out."""
    if function is None:
        return set()
    args = function.args
    return {a.arg for a in (*args.args[len(args.args) - len(args.defaults) :], *args.kwonlyargs)}


def _multiplies(file: SourceFile, function: Function) -> bool:
    """Whether a function multiplies something by the number of outputs per prompt."""
    products = (n for n in file.nodes(ast.BinOp, within=function) if isinstance(n.op, ast.Mult))
    return any(last_name(side) in _COUNTS for product in products for side in (product.left, product.right))


def _given(function: Function | None, call: ast.Call, names: frozenset[str]) -> bool:
    """Whether a call passes one of the parameters, by name or by place."""
    if function is None or any(keyword(call, name) is not None for name in names):
        return True
    return bool(names & {a.arg for a in function.args.args[1 : len(call.args) + 1]})
