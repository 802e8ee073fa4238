"""Config values that choose between different code, and the ones a port is specialised for.

The selectors are rules for every model; what a published checkpoint needs beyond them is data, models by name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from omniport.errors import UnsupportedError
from omniport.records import dataclass

Scalar = str | bool | None

#: Constructor parameters by which diffusers' shared blocks choose an activation, a norm or a kind of attention.  A root
#: that takes one nearly always means its own default; a port serves that and what the config in hand has.
SELECTORS = frozenset({"activation_fn", "attention_type", "norm_type", "qk_norm"})


WITHOUT = "the reference leaves it out of every block whose attention it perturbs"


@dataclass(frozen=True)
class Mode:
    """The values of one constructor parameter of a root class; the port refuses any other at construction.

    With ``code`` set, the code for that value serves all of them, as long as the forward parameters ``without`` keep
    their default None where the value is another one, which the port then sees to.
    """

    values: tuple[Scalar, ...]
    reason: str
    code: Scalar = None
    without: tuple[str, ...] = ()
    only: bool = False


#: Root class -> constructor parameter -> what published checkpoints have.
MODES: dict[str, dict[str, Mode]] = {
    "Kandinsky5Transformer3DModel": {
        "attention_type": Mode(
            ("regular",),
            "sparse attention takes flex attention's block masks, which vLLM-Omni's layer lacks",
            only=True,
        )
    },
    "LatteTransformer3DModel": {
        "activation_fn": Mode(("gelu-approximate",), "the published checkpoint has it"),
        "norm_type": Mode(("ada_norm_single",), "the published checkpoint has it"),
    },
    "LTX2VideoTransformer3DModel": {
        "perturbed_attn": Mode(
            (False, True),
            "the processor with perturbation is the one without it where no block is perturbed",
            code=True,
            without=("spatio_temporal_guidance_blocks",),
        )
    },
    "SanaTransformer2DModel": {"qk_norm": Mode((None, "rms_norm_across_heads"), "1.0 has none, later ones do")},
    "SD3Transformer2DModel": {"qk_norm": Mode((None, "rms_norm"), "3.0 has none, 3.5 has it")},
    "Transformer2DModel": {
        "activation_fn": Mode(("geglu-approximate",), "VQ-Diffusion has it"),
        "norm_type": Mode(("layer_norm", "ada_norm"), "VQ-Diffusion has the second, its config may say the first"),
    },
}


def modes_of(
    root: str, defaults: Mapping[str, object], config: Mapping[str, object], without: Collection[str] = ()
) -> dict[str, Mode]:
    """The modes of ``root``.

    Args:
        root: name of the transformer class.
        defaults: the literal defaults of its constructor.
        config: the published config of the model in hand, as far as there is one.
        without: parameters that must keep their default None, for what the pipeline does.

    Raises:
        UnsupportedError: it has a value that no port can serve.
    """
    modes = dict(MODES.get(root, {}))
    modes |= {name: Mode((None,), WITHOUT, only=True) for name in without if defaults.get(name, ...) is None}
    for name in sorted(SELECTORS & defaults.keys() - modes.keys()):
        default = defaults[name]
        if isinstance(default, str):
            modes[name] = Mode((default,), "the default; published configs leave it")
    for name, mode in modes.items():
        value = config.get(name, mode.values[0])
        if isinstance(value, str | None) and value not in mode.values:
            if mode.only:
                raise UnsupportedError(f"{root}: {name}={value!r}: {mode.reason}")
            modes[name] = replace(mode, values=(*mode.values, value))
    return modes


def shown(values: Iterable[Scalar]) -> str:
    """The values as a message names them."""
    return " or ".join(map(repr, values))
