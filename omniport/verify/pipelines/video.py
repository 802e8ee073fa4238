"""Recipes of video pipelines."""

from __future__ import annotations

from dataclasses import replace

from omniport.verify.components.encoders import CLIP_VISION
from omniport.verify.pipelines.form import Noise, Picture, Recipe

_SANA = Recipe(
    "Gemma 2 is annotated by its base class; published with Wan's VAE",
    {"text_encoder": "transformers.Gemma2Model", "vae": "diffusers.AutoencoderKLWan"},
    call={"use_resolution_binning": False},
)
_MOTIF = Recipe(
    "scheduler and guider are annotated by their base classes",
    {
        "scheduler": "diffusers.FlowMatchEulerDiscreteScheduler",
        "guider": "diffusers.ClassifierFreeGuidance",
        "tokenizer": "transformers.GemmaTokenizer",
    },
)

_COSMOS2 = {
    "use_karras_sigmas": True,
    "sigma_max": 80.0,
    "sigma_min": 0.002,
    "sigma_data": 1.0,
    "final_sigmas_type": "sigma_min",
}

_COSMOS25 = {
    "use_crossattn_projection": True,
    "crossattn_proj_in_channels": "=3 * width('text_encoder')",
    "encoder_hidden_states_channels": "=width('text_encoder')",
}

_LEARNED = {"max_sequence_length": 226}  # position embeddings are learned for this length
_WITH_IMAGE = {"transformer": {"in_channels": "=2 * z", "out_channels": "=z"}}

_LTX2_CALL = {"height": 64, "width": 128, "spatio_temporal_guidance_blocks": [1]}
_LTX2 = Recipe("guidance takes blocks of a deep denoiser", call=_LTX2_CALL)

VIDEO: dict[str, Recipe] = {
    "AllegroPipeline": Recipe("the autoencoder decodes in tiles only", repairs=("vae tiling",)),
    "HeliosPipeline": Recipe(
        "one stage; a picture or a video",
        configs={"scheduler": {"stages": 1, "stage_range": [0, 1]}},
        call={"video": None},
    ),
    "HeliosPyramidPipeline": Recipe(
        "a picture or a video; at the default gamma the blocks' covariance is singular",
        configs={"scheduler": {"gamma": 0.3}},
        call={"video": None, "height": 128, "width": 256, "pyramid_num_inference_steps_list": [1, 1, 1]},
    ),
    "HunyuanSkyreelsImageToVideoPipeline": Recipe("the picture joins the channels", configs=_WITH_IMAGE),
    "HunyuanVideo15ImageToVideoPipeline": Recipe(
        "sizes come from the denoiser's target size", configs={"transformer": {"target_size": 96}}
    ),
    "HunyuanVideoImageToVideoPipeline": Recipe(
        "published models replace the first frame's token; the template has room for 576 tokens of the picture",
        tokenizers={"tokenizer": "llava"},
        configs={
            "transformer": {"image_condition_type": "token_replace"},
            "text_encoder": {
                "vision_config": {
                    **CLIP_VISION,
                    "model_type": "clip_vision_model",
                    "image_size": 336,
                    "patch_size": 14,
                },
                "image_seq_length": 576,
            },
            "image_processor": {"side": 336},
        },
    ),
    "Kandinsky5I2VPipeline": Recipe(
        "the first frame is normalised by several that follow",
        configs={"transformer": {"visual_cond": True}},
        call={"num_frames": 25},
    ),
    "LTX2ConditionPipeline": _LTX2,
    "LTX2HDRPipeline": Recipe("guidance takes blocks of a deep denoiser", call={"height": 64, "width": 128}),
    "LTX2ImageToVideoPipeline": Recipe(
        "guidance takes blocks of a deep denoiser; compression of the picture needs a video library",
        call={**_LTX2_CALL, "image_crf": 0},
    ),
    "LTX2InContextPipeline": _LTX2,
    "LTX2Pipeline": _LTX2,
    "LTXI2VLongMultiPromptPipeline": Recipe(
        "the picture is too small for tiles", call={"decode_horizontal_tiles": 1, "decode_vertical_tiles": 1}
    ),
    "LucyEditPipeline": Recipe("the video joins the channels", configs=_WITH_IMAGE),
    "CogVideoXFunControlPipeline": Recipe("the control video joins the channels", configs=_WITH_IMAGE, call=_LEARNED),
    "CogVideoXImageToVideoPipeline": Recipe("the picture joins the channels", configs=_WITH_IMAGE, call=_LEARNED),
    "CogVideoXPipeline": Recipe("texts have one length", call=_LEARNED),
    "CogVideoXVideoToVideoPipeline": Recipe("texts have one length", call=_LEARNED),
    "ConsisIDPipeline": Recipe(
        "a face comes as its embedding and the layers of an image encoder",
        configs=_WITH_IMAGE,
        call={
            **_LEARNED,
            "id_cond": Noise((1, 20)),
            "id_vit_hidden": Noise((1, 7, 24), count=2),
        },
    ),
    "Cosmos2TextToImagePipeline": Recipe(
        "no mask beside the latents; the step divides by a sigma, which is never 0 in the published schedule",
        configs={"transformer": {"in_channels": "=z"}, "scheduler": _COSMOS2},
    ),
    "Cosmos2VideoToWorldPipeline": Recipe(
        "a picture or a video; the step divides by a sigma, which is never 0 in the published schedule",
        configs={"scheduler": _COSMOS2},
        call={"video": None},
    ),
    "CosmosTextToWorldPipeline": Recipe("no mask beside the latents", configs={"transformer": {"in_channels": "=z"}}),
    "CosmosVideoToWorldPipeline": Recipe("a picture or a video", call={"video": None}),
    "Cosmos2_5_PredictBasePipeline": Recipe(
        "a picture or a video; texts are the layers of the encoder side by side, projected",
        configs={"transformer": _COSMOS25},
        call={"video": None},
    ),
    "Cosmos2_5_TransferPipeline": Recipe(
        "texts are the layers of the encoder side by side, projected; a video that controls",
        configs={
            "transformer": {**_COSMOS25, "controlnet_block_every_n": 1},
            "controlnet": _COSMOS25,
        },
        call={"controls": Picture(frames=9), "num_frames_per_chunk": 9},
    ),
    "Cosmos3OmniPipeline": Recipe(
        "the tokenizer is that of Qwen; a picture or a video",
        tokenizers={"text_tokenizer": "qwen"},
        call={"video": None},
        configs={"transformer": {"vocab_size": 6000}},
    ),
    "EasyAnimateInpaintPipeline": Recipe(
        "videos come as tensors; published with the masked video in the channels",
        configs={"transformer": {"in_channels": "=2 * z + 1"}, "vae": {"cache_mag_vae": False}},
        call={"video": Noise((1, 3, 9, 64, 96)), "mask_video": Noise((1, 1, 9, 64, 96), binary=True)},
        cases={"defaults": {"negative_prompt": "blurry"}},
    ),
    "EasyAnimatePipeline": Recipe(
        "an omitted negative prompt is not None-safe", cases={"defaults": {"negative_prompt": "blurry"}}
    ),
    "MotifVideoImage2VideoPipeline": replace(_MOTIF, configs={"transformer": {"image_embed_dim": 32}}),
    "MotifVideoPipeline": _MOTIF,
    "AnyFlowFARPipeline": Recipe(
        "chunks of one and two latent frames", call={"video": None, "chunk_partition": [1, 2]}
    ),
    "SanaImageToVideoPipeline": _SANA,
    "SkyReelsV2DiffusionForcingVideoToVideoPipeline": Recipe(
        "a video is continued from its last frames",
        call={"num_frames": 17, "overlap_history": 3, "base_num_frames": 13},
    ),
    "SkyReelsV2ImageToVideoPipeline": Recipe(
        "picture and mask join the channels",
        configs={
            "transformer": {"in_channels": "=2 * z + 4", "out_channels": "=z", "image_dim": "=width('image_encoder')"}
        },
    ),
    "WanImageToVideoPipeline": Recipe(
        "picture and mask join the channels",
        configs={"transformer": {"in_channels": "=2 * z + 4", "out_channels": "=z"}},
    ),
    "WanPipeline 2.2": Recipe(
        "two denoisers, each for a part of the schedule, with a scale each",
        {"transformer_2": "diffusers.WanTransformer3DModel"},
        settings={"boundary_ratio": 0.7},
        call={"guidance_scale_2": 2.5},
        cases={"guidance off": {"guidance_scale_2": 1.0}},
    ),
    "WanVACEPipeline": Recipe(
        "a mask for each frame, a list of reference pictures for each video",
        call={"mask": Picture(frames=9), "reference_images": [[Picture(2)]]},
    ),
    "SanaVideoPipeline": _SANA,
}
