"""Config parameters that choose between different code, and the choice that a port makes.  Data: models by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mode:
    """One constructor parameter of a root class, bound to ``value``.

    The port refuses any other value at construction, except those in ``also``: with them the same code computes the
    same as long as the forward parameters ``without`` keep their default None, which the port then sees to.
    """

    value: str | bool
    reason: str
    also: tuple[str | bool, ...] = ()
    without: tuple[str, ...] = ()


#: Root class -> constructor parameter -> choice.
MODES: dict[str, dict[str, Mode]] = {
    "LatteTransformer3DModel": {
        "norm_type": Mode("ada_norm_single", "the published checkpoint has it; another norm is another block")
    },
    "LTX2VideoTransformer3DModel": {
        "perturbed_attn": Mode(
            True,
            "the processor with perturbation is the one without it where no block is perturbed",
            also=(False,),
            without=("spatio_temporal_guidance_blocks",),
        )
    },
}
