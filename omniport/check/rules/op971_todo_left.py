"""OP971: a gap that omniport counted is still open."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import last_name
from omniport.plan.todos import blocks, markers

_STUBS = frozenset({"encode_prompt", "diffuse", "decode", "forward", "denoise", "prepare_latents"})


class TodoLeft(Rule):
    """A gap that omniport counted in a port of a custom repository is still open.

    A comment or message ``OMNIPORT-TODO(ID)``, in the port or in the script that fetches its weights, says what could
    not be written and where the source does it; or the marker is gone and the method still only raises
    ``NotImplementedError``.  What a port can serve without is listed
    and counted as every other, and lets the check pass: NATIVE, ATTN, REVISION, REPO_ID and DEPENDENCY.  Every other
    id blocks, one that omniport does not know as well.

    Why: what a denoising loop, a prompt template or an attention of a custom repository means cannot be decided by
    rules (step B2 of the guide ``add-diffusion-model``).  The registry of vllm-omni 0.30.0 only imports the class and
    the loader only fills it, so that a port with such a gap starts, and fails at the first request.

    Fix: write what the marker says, from the place in the source that it names, and remove the marker.
    """

    code = "OP971"
    name = "todo-left"
    VALID = (
        """
        class ToyPipeline:
            def decode(self, latents):
                return self.vae.decode(latents).sample
        """,
        """
        class Base:
            def decode_audio(self, latents):
                raise NotImplementedError
        """,
    )
    INVALID = (
        """
        class ToyPipeline:
            def decode(self, latents):
                raise NotImplementedError("OMNIPORT-TODO(DECODE): how latents become the output")
        """,
        """
        class ToyPipeline:
            def decode(self, latents):
                raise NotImplementedError
        """,
        """
        class ToyAttention:
            def forward(self, q, k, v):
                # OMNIPORT-TODO(ATTN): use vLLM-Omni's Attention layer
                return attend(q, k, v)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        script = port.tree.download_of(port.name) if port.tree is not None else None
        for file in (*port.files, *([script] if script is not None else [])):
            marked = set()
            for found in markers(file.text):
                marked.add(found.line)
                place = ast.Pass(lineno=found.line, col_offset=found.col)
                identity, blocking = found.identity or "a TODO without an id", blocks(found.identity)
                message = f"{identity} is open{'' if blocking else ', not blocking'}"
                yield self.at(file, place, message + (f": {found.text}" if found.text else ""), blocking=blocking)
            for node in file.nodes(ast.FunctionDef):
                if node.name in _STUBS and _only_raises(node) and not marked & _lines(node):
                    yield self.at(file, node, f"{node.name} only raises NotImplementedError")


def _only_raises(node: ast.FunctionDef) -> bool:
    body = [s for s in node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    if len(body) != 1 or not isinstance(body[0], ast.Raise) or body[0].exc is None:
        return False
    raised = body[0].exc
    return last_name(raised.func if isinstance(raised, ast.Call) else raised) == "NotImplementedError"


def _lines(node: ast.FunctionDef) -> set[int]:
    return set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
