"""Ways to write a denoiser that diffusers' own models never use, said in the words that the passes of Path A know.

Each rule is one file; each leaves alone what it does not understand, and the pass that meets it then refuses.
"""

from __future__ import annotations

import libcst as cst

from omniport.custom.idioms.attention_functions import known_attention
from omniport.custom.idioms.class_aliases import class_aliases
from omniport.custom.idioms.config_dict import config_dict
from omniport.custom.idioms.dict_arguments import dict_arguments
from omniport.custom.idioms.kernel_choice import kernel_choice
from omniport.custom.idioms.local_functions import local_functions
from omniport.custom.idioms.own_processors import own_processors
from omniport.custom.idioms.setters import setters
from omniport.custom.idioms.settings_object import Settings, settings_object
from omniport.custom.idioms.starred_shapes import starred_shapes
from omniport.records import dataclass

#: in this order: a processor's settings must be its module's before a choice between kernels is looked for there
_RULES = (setters, class_aliases, starred_shapes, dict_arguments, local_functions, own_processors, kernel_choice)


@dataclass(frozen=True)
class Plain:
    """The module in plain words, and what was decided on the way: what was meant, and why."""

    text: str
    notes: tuple[tuple[str, str], ...]
    attends: bool  # whether attention is now diffusers' function
    unfolded: tuple[str, ...] = ()  # parameters of the root's constructor whose entries are parameters now
    settings: Settings | None = None  # the one that was an object


def plain(text: str, root: str) -> Plain:
    """``text``, the slice of the denoiser ``root``, with every idiom that is understood said plainly."""
    module, unfolded = config_dict(cst.parse_module(text), root)
    module, settings = settings_object(module, root)
    for rule in _RULES:
        module = rule(module)
    module, notes = known_attention(module)
    return Plain(module.code, notes, bool(notes), unfolded, settings)
