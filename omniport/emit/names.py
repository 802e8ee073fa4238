"""Names of ports: derived from the pipeline class, or given and checked."""

from __future__ import annotations

import keyword
import re

from omniport.errors import OmniportError
from omniport.target.manifest import NAME

_RESERVED = frozenset({"journal", "diffusers_adapter", "interface", "progress_bar"})  # ours, and modules of the tree

#: where a new word starts: FluxKontext, Wan22, Flux2Klein, LTX2Video, Kandinsky5T2V, but not I2V
_WORD = re.compile(
    r"(?<=[a-z])(?=[A-Z0-9])|(?<=[0-9])(?=[A-Z][a-z])|(?<=[A-Z])(?=[A-Z][a-z])"
    r"|(?<=[a-z][0-9])(?=[A-Z])|(?<=[a-z][0-9][0-9])(?=[A-Z])"
)


def default_name(pipeline_class: str) -> str:
    """The port's name for a pipeline class: ``FluxPipeline`` -> ``flux``, ``StableDiffusion3Pipeline`` ->
    ``stable_diffusion_3``.

    Raises:
        OmniportError: nothing usable is left.
    """
    stem = pipeline_class.removesuffix("Pipeline")
    words = _WORD.sub("_", stem)
    return check_name(re.sub("_+", "_", words).strip("_").lower(), f"the name made from {pipeline_class[:100]!r}")


def check_name(name: str, what: str = "--name") -> str:
    """``name`` if it can be the name of a folder, a module and a package.

    Raises:
        OmniportError: it cannot.
    """
    if not NAME.match(name) or keyword.iskeyword(name) or keyword.issoftkeyword(name) or name in _RESERVED:
        raise OmniportError(
            f"{what} {name[:100]!r} cannot name a port: lower-case letters, digits and underscores, starting with a "
            "letter, at most 64, and no word of Python; give one with --name"
        )
    return name
