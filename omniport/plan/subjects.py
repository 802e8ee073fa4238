"""What decisions are about, where more than one room asks for them: their subjects, or the kind that a subject begins
with."""

from __future__ import annotations

STAGES = "pipeline stages"
"""Subject of the decision whether stages of a pipeline can share the denoiser that the loop calls."""

COMPONENT = "component"
"""Kind of the decision about a component: its class, and a reason that begins with its role."""

STAYS = "stays"
"""Kind of the decision about a component that model-level offload must leave on the device."""

FORWARDS = "forwards a step"
"""Subject of the decision how many forwards of a denoiser a step makes: None if no cache can count them."""

ALIKE = "alike"
"""Kind of the decision that steps make equally many forwards only while an argument has one value: argument, and value.
A port refuses others where there is a cache."""

CARRIED = "carried"
"""Kind of the decision about a dict in which a pipeline passes data to its denoiser: parameter, and its keys."""
