"""Shapes of repositories as they are published: hybrids, modular ones, and what is malformed or hostile.

Each is ``index`` (an object, or the text of the file, or None for no index) and other ``files``; all are cut down to
what makes the shape.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

VAE = {"vae": ["diffusers", "AutoencoderKL"]}
ENCODER = {"text_encoder": ["transformers", "CLIPTextModel"]}
STOCK = VAE | ENCODER
CODE = "raise SystemExit('never run')\n"


@dataclass(frozen=True)
class Shape:
    index: dict[str, Any] | str | bytes | None
    files: dict[str, Any] = field(default_factory=dict)


def flux(**entries: Any) -> dict[str, Any]:
    return {"_class_name": "FluxPipeline", "_diffusers_version": "0.30.0.dev0", **STOCK, **entries}


SHAPES: dict[str, Shape] = {
    # hybrids and their like
    "custom_transformer_in_subfolder": Shape(
        {
            "_class_name": ["pipeline_boogu", "BooguPipeline"],
            "transformer": ["transformer_boogu", "BooguImageTransformer2DModel"],
            "scheduler": ["scheduling_shifting", "FlowMatchEulerDiscreteScheduler"],
            "mllm": ["transformers", "Qwen3VLForConditionalGeneration"],
            **VAE,
        },
        {"transformer/transformer_boogu.py": CODE, "scheduler/scheduling_shifting.py": CODE, "pipeline_boogu.py": CODE},
    ),
    "custom_transformer_with_string_pipeline": Shape(
        {
            "_class_name": "BriaPipeline",
            "_name_or_path": "org/an-older-version",
            "transformer": ["transformer_bria", "BriaTransformer2DModel"],
            **STOCK,
        }
    ),
    "custom_pipeline_of_stock_components": Shape(
        {"_class_name": ["pipeline", "StableMaterialsPipeline"], **STOCK}, {"pipeline.py": CODE}
    ),
    "custom_pipeline_and_unet": Shape(
        {
            "_class_name": ["pipeline_interact", "InteractPipeline"],
            "unet": ["interactdiffusion_unet_2d_condition", "InteractDiffusionUNet2DConditionModel"],
            "safety_checker": [None, None],
            "requires_safety_checker": False,
            **STOCK,
        },
        {"unet/interactdiffusion_unet_2d_condition.py": CODE},
    ),
    "two_components_of_one_module": Shape(
        {
            "_class_name": ["pipeline", "KiwiPipeline"],
            "vae": ["wan_video_vae", "VAE"],
            "mllm_encoder": ["mllm_encoder", "MLLMEncoder"],
            "source_embedder": ["conditional_embedder", "ConditionalEmbedder"],
            "ref_embedder": ["conditional_embedder", "ConditionalEmbedder"],
            "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        }
    ),
    "library_is_a_pipeline_of_diffusers": Shape(
        {
            "_class_name": "StableCascadeDecoderPipeline",
            "decoder": ["stable_cascade", "StableCascadeUnet"],
            "vqgan": ["wuerstchen", "PaellaVQModel"],
            "latent_dim_scale": 10.67,
            **ENCODER,
        }
    ),
    "class_of_a_fork_of_diffusers": Shape(
        {
            "_class_name": "EasyAnimatePipelineOfFork",
            "transformer": ["diffusers", "EasyAnimateTransformer9DModel"],
            "vae": ["diffusers", "AutoencoderKLMagvitOfFork"],
            **ENCODER,
        }
    ),
    "modular_content_in_the_plain_index": Shape(
        {
            "_class_name": "MiniMaxH3ModularPipeline",
            "_blocks_class_name": "MiniMaxH3Blocks",
            "transformer": [
                None,
                None,
                {"type_hint": ["diffusers", "FluxTransformer2DModel"], "pretrained_model_name_or_path": "org/other",
                 "subfolder": "transformer", "variant": None, "revision": None},
            ],
            "vae": ["diffusers", "AutoencoderKL", {"pretrained_model_name_or_path": "org/x", "subfolder": "vae"}],
        }
    ),
    "auto_map_behind_a_stock_class": Shape(
        flux(transformer=["diffusers", "AutoModel"]),
        {"transformer/config.json": {"auto_map": {"AutoModel": "my_model.MyModel"}}, "transformer/my_model.py": CODE},
    ),
    "single_files_beside_the_layout": Shape(
        flux(transformer=["diffusers", "FluxTransformer2DModel"]),
        {"flux1-dev.safetensors": "", "ae.safetensors": "", "transformer/config.json": {}},
    ),
    "no_index_but_component_folders": Shape(
        None,
        {"dit/config.json": {"_class_name": "OwnDiT"}, "vae/config.json": {"_class_name": "AutoencoderKLWan"}},
    ),
    # values that are no components
    "list_of_numbers": Shape(flux(ramping_coefficients=[0.0, 0.206, 1.0], two=[0.0, 0.2])),
    "list_of_two_numbers_and_text": Shape(flux(a=["x", 1], b=[1, "x"], c=[["a", "b"], ["c", "d"]])),
    "nulls": Shape(flux(image_encoder=[None, None], other=None, third=[None, "X"])),
    "library_without_class": Shape(flux(other=["diffusers", None])),
    "modular_nulls_with_a_hint": Shape(
        flux(vae=[None, None, {"type_hint": ["diffusers", "AutoencoderKL"]}], other=[None, None, {"revision": None}])
    ),
    "settings": Shape(
        flux(
            expand_timesteps=True, boundary_ratio=0.9, is_distilled=False, patch_size=2, dmd2_config={"a": {"b": 1}},
            text_encoder_select_layers=[1, 2, 3], id2label={"0": "x"},
        )
    ),
    "underscore_keys": Shape(flux(_name_or_path="org/stale", _ignore_files=["a", "b"], _unknown=["diffusers", "X"])),
    # files that are no JSON object
    "trailing_comma": Shape('{\n "_class_name": "FluxPipeline",\n}'),
    "byte_order_mark": Shape(b'\xef\xbb\xbf{"_class_name": "FluxPipeline"}'),
    "empty_file": Shape(""),
    "lfs_pointer": Shape("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
    "array": Shape('[{"_class_name": "FluxPipeline"}]'),
    "comment": Shape('{\n // the class\n "_class_name": "FluxPipeline"\n}'),
    "not_a_number": Shape('{"_class_name": "FluxPipeline",\n "scale": NaN}'),
    "not_utf8": Shape(b'{"_class_name": "Flux\xff"}'),
    "key_twice": Shape('{"_class_name": "FluxPipeline",\n "vae": ["diffusers", "X"],\n "vae": [null, null]}'),
    # layouts
    "many_encoders_and_transformers": Shape(
        flux(
            text_encoder_2=["transformers", "T5EncoderModel"], text_encoder_3=["transformers", "T5EncoderModel"],
            transformer=["diffusers", "WanTransformer3DModel"], transformer_2=["diffusers", "WanTransformer3DModel"],
            transformer_ref=[None, None],
        )
    ),
    "unet_in_place_of_the_transformer": Shape(flux(unet=["diffusers", "UNet2DConditionModel"])),
    "folder_missing": Shape(flux(transformer=["diffusers", "FluxTransformer2DModel"]), {"vae/config.json": {}}),
    "folder_not_in_the_index": Shape(flux(), {"extra/config.json": {"_class_name": "OwnModel"}}),
    "index_in_a_subfolder_only": Shape(None, {"prior/model_index.json": {"_class_name": "FluxPipeline"}}),
    "names_that_differ_in_case": Shape(flux(VAE=["diffusers", "AutoencoderKL"])),
    "alias_of_a_pipeline": Shape({"_class_name": "WanDMDPipeline", **STOCK}),
    "architecture_for_a_pipeline": Shape({"_class_name": "FluxTransformer2DModel", **STOCK}),
    # hostile names
    "path_as_library": Shape(flux(transformer=["../../evil", "X"])),
    "dotted_library": Shape(flux(transformer=["os.path", "join"])),
    "dunder_library": Shape(flux(transformer=["__main__", "X"])),
    "keyword_as_library": Shape(flux(transformer=["import", "X"])),
    "call_as_class": Shape(flux(transformer=["diffusers", "X()"])),
    "path_as_component": Shape(flux(**{"../x": ["diffusers", "AutoencoderKL"]})),
    "path_as_pipeline_module": Shape({"_class_name": ["../x", "X"], **STOCK}),
    "list_of_three_as_class": Shape({"_class_name": ["a", "b", "c"], **STOCK}),
    "importable_module_as_library": Shape(flux(transformer=["subprocess", "Popen"])),
    "hostile_auto_map": Shape(
        flux(transformer=["diffusers", "AutoModel"]),
        {"transformer/config.json": {"auto_map": {"AutoModel": "../evil.X"}}},
    ),
}  # fmt: skip
