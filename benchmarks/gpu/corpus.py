"""Time one denoising forward of every transformer of the corpus in up to three versions.

    python benchmarks/gpu/corpus.py --ports TREE [--model CLASS]... [--compile] [--json FILE]

As ``forward.py``, which measures four models at the sizes of their usual requests.  Here each class has the width of a
published model (``fixtures/published.toml``, else its constructor's defaults), two or three blocks of each kind, one
sample and inputs that ``omniport verify`` draws: 3072 image tokens, five such frames in a video, and 256 text tokens.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import forward
import tomllib
import torch
from models import Model

from omniport.verify.checkpoint import constructor_defaults
from omniport.verify.classes import ENTRIES, Entry
from omniport.verify.defaults import SIZES
from omniport.verify.inputs import synthesise
from omniport.verify.vocabulary import Sizes

ROOT = Path(__file__).parents[2]
LENGTHS = Sizes(batch=1, rows=48, columns=64, text=256, frames=5, text2=96)

DEPTHS = {key: value for key, value in SIZES.items() if key.endswith(("_layers", "_blocks", "depth"))}
DEPTHS.update(num_hidden_layers=2, text_num_layers=2)

#: Inputs that pipelines keep in float32: tables and positions.
EXACT = re.compile(r"rotary|freqs|ids|coords|scale|grid|pos")

HAND, MADE = "vllm_omni.diffusion.models", "vllm_omni.diffusion.models.corpus_"


def models(ports: Path) -> list[Model]:
    """Every generated port of the tree, with the hand-written one beside it."""
    import vllm_omni

    from omniport.corpus.hand_written import hand_written

    site = Path(vllm_omni.__file__).parents[1]
    published = tomllib.loads((ROOT / "fixtures/published.toml").read_text("utf-8"))
    found = []
    for path in sorted((ports / "vllm_omni/diffusion/models").glob("corpus_*/*_transformer.py")):
        reference = _reference(path)
        if reference is None:
            continue
        module, name = reference
        rows = [row for row in published.get(name, ()) if not row.get("names_only")]
        form = next((row for row in rows if row["model"] in LARGEST), rows[0] if rows else {})
        found.append(
            Model(
                name=name,
                cls=name,
                reference=module,
                hand=hand_written(site, name) or "",
                generated=f"{MADE}{path.parent.name.removeprefix('corpus_')}.{path.stem}",
                config=_config(name, module, form),
                tiny={},
                what=form.get("model", "defaults"),
                inputs=_inputs(module, name),
            )
        )
    return found


def _reference(path: Path) -> tuple[str, str] | None:
    """Module and name of the class in diffusers that a port is of."""
    import diffusers.models.transformers as package

    names = re.findall(r"^class (\w+)\(", path.read_text("utf-8"), re.MULTILINE)
    for file in sorted(Path(package.__file__).parent.glob("*.py")):
        text = file.read_text("utf-8")
        for name in names:
            if re.search(rf"^class {name}\(\s*\n?[^:]*ModelMixin", text, re.MULTILINE):
                return file.stem, name
    return None


def _class(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"diffusers.models.transformers.{module}"), name)


def _config(name: str, module: str, form: dict[str, Any]) -> dict[str, Any]:
    """The published config with few blocks."""
    defaults = constructor_defaults(_class(module, name))
    own = ENTRIES.get(name, Entry()).config  # switches that no default sets, and every published model does
    switches = {key: value for key, value in own.items() if value is True and not defaults.get(key)}
    published = {**dict.fromkeys(form.get("none", ())), **form.get("config", {})}
    config = {**defaults, **switches, **published, **WIDE.get(name, {})}
    cut = {key: min(DEPTHS[key], value) for key, value in config.items() if key in DEPTHS and isinstance(value, int)}
    return {**config, **cut}


def _inputs(module: str, name: str) -> Callable[[dict[str, Any], bool, torch.Generator], dict[str, Any]]:
    entry = ENTRIES.get(name, Entry())

    def draw(config: dict[str, Any], tiny: bool, generator: torch.Generator) -> dict[str, Any]:
        with torch.device("meta"):
            reference = _class(module, name)(**config)
        sizes = replace(Sizes(batch=1) if tiny else LENGTHS, **GRIDS.get(name, {}))
        given = {**entry.inputs, **WIDE_INPUTS.get(name, {})}
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            made = synthesise(reference, config, sizes, inputs=given, words=entry.words)
        finally:
            torch.set_default_dtype(default)
        return {key: value if EXACT.search(key) else _halved(value) for key, value in made.items()}

    return draw


def _halved(value: Any) -> Any:
    if torch.is_tensor(value):
        return value.to(torch.bfloat16) if value.is_floating_point() else value
    if isinstance(value, (list, tuple)):
        return type(value)(_halved(item) for item in value)
    return value


#: Of the published models of a class the one measured, where that is not the first.
LARGEST = (
    "Qwen/Qwen-Image",
    "Skywork/SkyReels-V2-T2V-14B-540P",
    "Wan-AI/Wan2.1-T2V-14B",
    "Wan-AI/Wan2.1-VACE-14B",
    "black-forest-labs/FLUX.1-dev",
    "nvidia/AnyFlow-Wan2.1-T2V-14B-Diffusers",
    "stabilityai/stable-diffusion-3.5-large",
)

#: What the published width needs besides, where the class has no such default: facts of the published models.
WIDE: dict[str, dict[str, Any]] = {
    "EasyAnimateTransformer3DModel": {"in_channels": 16},
    "HiDreamImageTransformer2DModel": {
        "patch_size": 2,
        "in_channels": 16,
        "caption_channels": [4096, 4096],
        "llama_layers": [0, 1, 2, 3, 4],
        "axes_dims_rope": (64, 32, 32),
        "max_resolution": (128, 128),
        "num_routed_experts": 4,
    },
    "HunyuanDiT2DModel": {"in_channels": 4, "patch_size": 2, "hidden_size": 1408, "text_len": 77, "text_len_t5": 256},
    "LatteTransformer3DModel": {
        "in_channels": 4,
        "out_channels": 8,
        "patch_size": 2,
        "sample_size": 64,
        "attention_head_dim": 72,
        "cross_attention_dim": 1152,
        "caption_channels": 4096,
        "activation_fn": "gelu-approximate",
        "attention_bias": True,
        "norm_type": "ada_norm_single",
        "norm_elementwise_affine": False,
        "num_embeds_ada_norm": 1000,
        "video_length": 5,
    },
    "WanVACETransformer3DModel": {"vace_layers": [0, 1]},
}
#: Grids of classes whose table of positions is smaller.
GRIDS: dict[str, dict[str, int]] = {"AuraFlowTransformer2DModel": {"rows": 24, "columns": 32}}
WIDE_INPUTS: dict[str, dict[str, str]] = {
    "AceStepTransformer1DModel": {
        "context_latents": "normal(batch, rows * columns, in_channels - audio_acoustic_hidden_dim)"
    },
    "AllegroTransformer3DModel": {
        "image_rotary_emb": "((rope(frames, attention_head_dim // 3, true), rope(rows, attention_head_dim // 3, true), "
        "rope(columns, attention_head_dim // 3, true)), tuple(grid(frames, rows, columns).long().T[:, None]))"
    },
    "StableAudio3DiTModel": {"hidden_states": "normal(batch, io_channels, rows * columns)"},
    "HiDreamImageTransformer2DModel": {
        "encoder_hidden_states_t5": "normal(batch, text2, 4096)",
        "encoder_hidden_states_llama3": "normal(5, batch, text, 4096)",
    },
    "LuminaNextDiT2DModel": {
        "image_rotary_emb": "polar(angles(rows, columns, hidden_size // num_attention_heads // 2))"
    },
    "QwenImageTransformer2DModel": {"hidden_states": "normal(batch, rows * columns, in_channels)"},
}

if __name__ == "__main__":
    arguments = forward.read_arguments(__doc__ or "")
    forward.main(arguments, models(Path(arguments.ports)))
