"""What rules cannot write in a port of a custom repository, and which of it a port cannot serve without.

Source of the ids: the artefacts of Path B (guide ``add-diffusion-model``, steps B2 to B7).  ``omniport check`` reads
this table at every start: nothing heavy is imported here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from omniport.records import sealed

#: the script that fetches the weights of a port, in a tree
DOWNLOAD = "examples/offline_inference/{name}/download_{name}.py"

#: id -> (what is left, whether the port cannot serve without it)
IDS: dict[str, tuple[str, bool]] = {
    "NATIVE": ("the classes are the repository's own: no parallel layers, no quantisation", False),
    "ATTN": ("this attention is the repository's own call", False),
    "BASE": ("calls of another package's layers, which change from release to release", True),
    "ENCODE_PROMPT": ("how a prompt becomes embeddings", True),
    "DENOISE": ("the denoising loop and its guidance", True),
    "MEDIA": ("what the model takes besides text, and what it gives", True),
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


def blocks(identity: str) -> bool:
    """Whether a port cannot serve without it; an id that nobody knows does."""
    return identity not in IDS or IDS[identity][1]


@sealed(frozen=True)
class Marker:
    """A TODO in a file: the 1-based line, the column from 0, its id (empty: none is given) and the text behind it."""

    line: int
    col: int
    identity: str
    text: str


_MARKER = re.compile(r"OMNIPORT-TODO(?:\(([^()]*)\))?(?:: (.{1,80}))?")


def markers(text: str) -> Iterator[Marker]:
    """Every TODO of a file, from top to bottom."""
    if "OMNIPORT-TODO" in text:
        for number, line in enumerate(text.splitlines(), 1):
            for found in _MARKER.finditer(line):
                # in a message the text ends with the string that holds it
                yield Marker(number, found.start(), found[1] or "", re.sub(r"""["']\)+\Z""", "", found[2] or ""))


def counted(left: int, blocking: int) -> str:
    """The line that every command says of what is left."""
    which = "all" if left == blocking > 1 else "none" if not blocking else str(blocking)
    return f"{left} TODO{'' if left == 1 else 's'} left, {which} of them blocking"
