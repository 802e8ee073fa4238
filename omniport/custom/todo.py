"""Gaps that a human must fill: counted, each with its evidence, in the code and in the plan.

A marker is ``OMNIPORT-TODO(ID)``; ``omniport check`` counts them (OP981).  Source of the ids: the artefacts of Path B
that no rule can write (guide ``add-diffusion-model``, steps B2 to B7).
"""

from __future__ import annotations

from omniport.plan.model import Decision, Why

#: id -> (what is left, whether the port cannot serve without it)
IDS: dict[str, tuple[str, bool]] = {
    "NATIVE": ("the classes are the repository's own: no parallel layers, no quantisation", False),
    "ATTN": ("this attention is the repository's own call", False),
    "ENCODE_PROMPT": ("how a prompt becomes embeddings", True),
    "DENOISE": ("the denoising loop and its guidance", True),
    "DECODE": ("how latents become the output", True),
    "REMAP": ("tensor names of the checkpoint that are not the class's", True),
    "FUSION": ("how the denoiser and the fusion are built of one another", True),
    "SUBMODEL": ("a model of the repository that could not be brought along", True),
    "REVISION": ("revisions of weights that are not pinned to a commit", False),
    "REPO_ID": ("where the weights are published", False),
    "COMPONENT": ("how a component of the repository's own is built and used", True),
    "CONFIG": ("the values of the constructor for each published checkpoint", True),
    "LICENCE": ("whether the code may be carried into the tree", True),
    "DEPENDENCY": ("a package whose distribution is not known", False),
}  # fmt: skip


def todo(identity: str, detail: str, why: Why) -> Decision:
    """One TODO of a plan.

    Raises:
        KeyError: ``identity`` is none of :data:`IDS`.
    """
    what, _ = IDS[identity]
    return Decision(identity, f"{what}: {detail}" if detail else what, why)


def marker(identity: str) -> str:
    """The text that stands in the code."""
    return f"OMNIPORT-TODO({identity})"
