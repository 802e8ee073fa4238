"""Recipes of image pipelines."""

from __future__ import annotations

from omniport.verify.components.encoders import QWEN3_VL, language_model
from omniport.verify.pipelines.form import Picture, Recipe

_GEMMA = {"text_encoder": "transformers.GemmaModel"}
_GEMMA2 = {"text_encoder": "transformers.Gemma2Model"}
_QWEN3 = {"text_encoder": "transformers.Qwen3Model"}
_SANA = Recipe("Gemma 2 is annotated by its base class", _GEMMA2)
_ZIMAGE = Recipe("the encoder is annotated by the base class of all; published is Qwen3", _QWEN3)

_KLEIN = Recipe(
    "texts are taken from three layers of an encoder, the last one its 27th",
    configs={"text_encoder": {"num_hidden_layers": 28}},
)
_SPRINT = Recipe(
    "two steps only, as the schedule has one time between; made for 1024 pixels; published with the SCM scheduler",
    {**_GEMMA2, "scheduler": "diffusers.SCMScheduler"},
    configs={"transformer": {"sample_size": 32, "guidance_embeds": True, "qk_norm": "rms_norm_across_heads"}},
    call={"num_inference_steps": 2},
)
_JOY = Recipe(
    "pictures come in buckets of a megapixel, so the autoencoder compresses by 32",
    configs={"vae": {"patch_size": 4, "in_channels": 48, "out_channels": 48, "scale_factor_spatial": 32}},
)
_TWO_LEVELS = {
    "block_out_channels": [8, 8],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
}
_MIXED = {
    "guider": "diffusers.AdaptiveProjectedMixGuidance",
    "ocr_guider": "diffusers.AdaptiveProjectedMixGuidance",
}
_LONG_CLIP = {"max_position_embeddings": 248}
_HUNYUAN_DIT = Recipe(
    "the second encoder is optional in the signature only; sizes become those of a million pixels, in one case here",
    {
        "text_encoder_2": "transformers.T5EncoderModel",
        "tokenizer_2": "transformers.T5Tokenizer",
        "safety_checker": "",
        "feature_extractor": "",
    },
    call={"use_resolution_binning": False},
    cases={"defaults": {"use_resolution_binning": None}},
)

_JSON = '{"edit_instruction": "make the cat red", "short_description": "a photo of a cat"}'
_FIBO = Recipe(
    "texts are structured, and taken from every layer",
    call={"prompt": _JSON, "negative_prompt": '{"edit_instruction": "none", "quality": "low"}'},
)
_CONTROL = {"transformer": {"in_channels": "=8 * z", "out_channels": "=4 * z"}}
_FLUX_CONTROL = Recipe("the control image joins the channels", configs=_CONTROL)
_KONTEXT = Recipe("pictures are resized to a megapixel if they may", call={"max_area": 6144, "_auto_resize": False})

_CLOZE = Recipe(
    "rows of pictures, the last one to be filled in, with a text for the task and one for the content",
    call={
        "task_prompt": "a grid of two rows",
        "content_prompt": "a photo of a cat",
        "image": [[Picture(0), Picture(1)], [Picture(2), None]],
    },
    configs={"transformer": {"in_channels": "=8 * z + 256", "out_channels": "=4 * z"}},
    settings={"resolution": 64},
)

IMAGE: dict[str, Recipe] = {
    "AmusedImg2ImgPipeline": Recipe(
        "codes of the picture are looked up", configs={"vqvae": {"lookup_from_codebook": True}}
    ),
    "AmusedInpaintPipeline": Recipe(
        "codes of the picture are looked up; the reference swaps rows and columns of a mask, so it is square",
        configs={"vqvae": {"lookup_from_codebook": True}},
        call={
            "image": Picture(width=64, height=64),
            "mask_image": Picture(width=64, height=64),
        },
    ),
    "AmusedPipeline": Recipe("codes of the picture are looked up", configs={"vqvae": {"lookup_from_codebook": True}}),
    "BriaFiboEditPipeline": _FIBO,
    "ChromaInpaintPipeline": Recipe(
        "published configs keep two keys of FLUX, of which the class takes none and the pipeline reads one",
        configs={"transformer": {"guidance_embeds": False, "pooled_projection_dim": 768}},
    ),
    "CogView4ControlPipeline": Recipe(
        "the control image joins the channels",
        configs={"transformer": {"in_channels": "=2 * z", "out_channels": "=z"}},
    ),
    "FluxControlImg2ImgPipeline": _FLUX_CONTROL,
    "FluxControlInpaintPipeline": _FLUX_CONTROL,
    "FluxControlPipeline": _FLUX_CONTROL,
    "FluxFillPipeline": Recipe(
        "the masked picture and the mask, 64 values a point, join the channels",
        configs={"transformer": {"in_channels": "=8 * z + 256", "out_channels": "=4 * z"}},
    ),
    "FluxKontextInpaintPipeline": _KONTEXT,
    "FluxKontextPipeline": _KONTEXT,
    "Flux2KleinInpaintPipeline": _KLEIN,
    "Flux2KleinKVPipeline": _KLEIN,
    "Flux2KleinPipeline": _KLEIN,
    "Flux2Pipeline": Recipe(
        "texts are taken from three layers of an encoder, the last one its 30th",
        configs={"text_encoder": {"text_config": {"model_type": "mistral", **language_model(num_hidden_layers=31)}}},
    ),
    "DiTPipeline": Recipe("class labels instead of a text", call={"class_labels": [3, 5]}),
    "HiDreamImagePipeline": Recipe(
        "latents always have 128 by 128 points in other proportions, so there are few calls of few steps",
        configs={
            "transformer": {"max_resolution": [128, 128]},
            "vae": _TWO_LEVELS,
            "text_encoder": _LONG_CLIP,
            "text_encoder_2": _LONG_CLIP,
            "text_encoder_4": {"num_hidden_layers": 5},
        },
        call={"num_inference_steps": 2},
        cases={"two outputs": None, "two prompts": None, "guidance off": None},
    ),
    "Ideogram4Pipeline": Recipe(
        "texts are taken from thirteen of 36 layers; the encoder is annotated by the base class of all",
        {"text_encoder": "transformers.Qwen3VLModel"},
        configs={
            "text_encoder": {"text_config": {**QWEN3_VL["text_config"], "num_hidden_layers": 36}},
            "transformer": {"llm_features_dim": "=13 * width('text_encoder')"},
            "unconditional_transformer": {"llm_features_dim": "=13 * width('text_encoder')"},
        },
        call={"guidance_scale": None, "guidance_schedule": (7.0, 3.0, 2.0)},
        cases={"guidance off": None},
    ),
    "JoyImageEditPipeline": _JOY,
    "Krea2Pipeline": Recipe(
        "texts are taken from three layers of a deep encoder",
        configs={"transformer": {"num_text_layers": 3}},
        settings={"text_encoder_select_layers": (1, 2, 3)},
    ),
    "VisualClozeGenerationPipeline": _CLOZE,
    "VisualClozePipeline": _CLOZE,
    "HunyuanDiTControlNetPipeline": _HUNYUAN_DIT,
    "GlmImagePipeline": Recipe(
        "pictures come as a list, and their latents by mean and deviation of each channel",
        configs={"vae": {"latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [0.5, 1.5, 0.8, 1.2]}},
        call={"image": [Picture(0)]},
    ),
    "HunyuanDiTPAGPipeline": _HUNYUAN_DIT,
    "HunyuanDiTPipeline": _HUNYUAN_DIT,
    "HunyuanImagePipeline": Recipe("published with two guiders", _MIXED),
    "HunyuanImageRefinerPipeline": Recipe(
        "the refiner has one text, and joins the picture's latents to the channels; published with a guider",
        {"guider": _MIXED["guider"]},
        configs={
            "transformer": {
                "in_channels": "=4 * z",
                "out_channels": "=2 * z",
                "text_embed_2_dim": None,
                "patch_size": [1, 1, 1],
                "rope_axes_dim": [4, 6, 6],
                "guidance_embeds": True,
            }
        },
    ),
    "Kandinsky5I2IPipeline": Recipe(
        "the picture and its mask join the channels", configs={"transformer": {"visual_cond": True}}
    ),
    "Kandinsky5T2IPipeline": Recipe(
        "an empty negative prompt leaves nothing behind the template; pictures have a megapixel",
        cases={"defaults": {"negative_prompt": "blurry"}, "two outputs": None},
    ),
    "LongCatImageEditPipeline": Recipe(
        "the pipeline asks for 16 latent channels; pictures have a megapixel, so the autoencoder compresses by 32",
        configs={
            "vae": {
                "latent_channels": 16,
                "block_out_channels": [8] * 6,
                "down_block_types": ["DownEncoderBlock2D"] * 6,
                "up_block_types": ["UpDecoderBlock2D"] * 6,
            }
        },
    ),
    "LongCatImagePipeline": Recipe(
        "the pipeline asks for 16 latent channels; prompts are rewritten by a long generation, once",
        configs={"vae": {"latent_channels": 16}},
        call={"enable_prompt_rewrite": False},
        cases={"defaults": {"enable_prompt_rewrite": True}},
    ),
    "NucleusMoEImagePipeline": Recipe(
        "texts are taken from the eighth layer from the end",
        configs={"text_encoder": {"text_config": {**QWEN3_VL["text_config"], "num_hidden_layers": 9}}},
    ),
    "OmniGenPipeline": Recipe(
        "the text names its pictures",
        tokenizers={"tokenizer": "llama"},
        configs={"transformer": {"vocab_size": 20000}},
        call={"prompt": "<img><|image_1|></img> a photo of a cat sitting on a red chair"},
    ),
    "PixArtSigmaPAGPipeline": Recipe(
        "random weights enlarge the rounding of float32 tenfold a step, of three predictions that are weighed: 4e-6 in "
        "the first step, 4e-4 in the third",
        call={"num_inference_steps": 2},
    ),
    "QwenImageControlNetInpaintPipeline": Recipe(
        "the mask joins the channels of the ControlNet", configs={"controlnet": {"extra_condition_channels": 4}}
    ),
    "QwenImageLayeredPipeline": Recipe(
        "every layer has the area of 640 times 640 pixels, which no argument makes smaller",
        call={"layers": 2},
        cases={"two outputs": {"layers": 1}, "two prompts": {"layers": 1}},
    ),
    "Lumina2Pipeline": Recipe("Gemma 2 is annotated by its base class", _GEMMA2),
    "Lumina2Text2ImgPipeline": Recipe("Gemma 2 is annotated by its base class", _GEMMA2),
    "LuminaPipeline": Recipe("Gemma is annotated by its base class", _GEMMA),
    "LuminaText2ImgPipeline": Recipe("Gemma is annotated by its base class", _GEMMA),
    "PRXPipeline": Recipe("published with an autoencoder", {"vae": "diffusers.AutoencoderKL"}),
    "PRXPixelPipeline": Recipe(
        "no autoencoder; the encoder is annotated by the base class of all",
        {"text_encoder": "transformers.Qwen3Model"},
        configs={"transformer": {"in_channels": 3}},
        call={"use_resolution_binning": False},
    ),
    "SanaControlNetPipeline": _SANA,
    "SanaPAGPipeline": _SANA,
    "SanaPipeline": _SANA,
    "SanaSprintImg2ImgPipeline": _SPRINT,
    "SanaSprintPipeline": _SPRINT,
    "StableDiffusion3InpaintPipeline": Recipe(
        "the pipeline asks for 16 latent channels", configs={"vae": {"latent_channels": 16}}
    ),
    "StableDiffusion3ControlNetInpaintingPipeline": Recipe(
        "the mask joins the channels of the ControlNet", configs={"controlnet": {"extra_conditioning_channels": 1}}
    ),
    "VQDiffusionPipeline": Recipe(
        "the denoiser tells codes and a mask apart; the published config says the steps, not the norm",
        configs={
            "transformer": {
                "num_vector_embeds": 33,
                "num_embeds_ada_norm": 100,
                "activation_fn": "geglu-approximate",
                "attention_bias": True,
                "cross_attention_dim": "=width('text_encoder')",
                "sample_size": 8,
            },
            "scheduler": {"num_vec_classes": 33},
            "vqvae": {"vq_embed_dim": 6},
        },
    ),
    "ZImageControlNetInpaintPipeline": Recipe(
        "the encoder is annotated by the base class of all; the ControlNet takes masked picture and mask",
        _QWEN3,
        configs={"controlnet": {"control_in_dim": "=2 * z + 1"}},
    ),
    "ZImageControlNetPipeline": _ZIMAGE,
    "ZImageImg2ImgPipeline": _ZIMAGE,
    "ZImageInpaintPipeline": _ZIMAGE,
    "ZImageOmniPipeline": Recipe(
        "the encoder is annotated by the base class of all; pictures are seen by Siglip, too",
        _QWEN3,
        configs={"transformer": {"siglip_feat_dim": "=width('siglip')"}},
        repairs=("vae in bfloat16",),
    ),
    "ZImagePipeline": _ZIMAGE,
}
