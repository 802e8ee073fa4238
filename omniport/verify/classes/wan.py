"""Recipes of Wan and of the video transformers that grew out of it."""

from __future__ import annotations

from omniport.verify.classes.common import FRAMES_FIRST
from omniport.verify.classes.entry import Entry, Variant

# Wan and its relatives cut the image tokens off by the text's length, which the source fixes at 512.
_TEXT = {"encoder_hidden_states": "normal(batch, 512, text_dim)"}
_IMAGE = {"image_dim": 52, "added_kv_proj_dim": 64}
_IMAGE_TOKENS = {**_TEXT, "encoder_hidden_states_image": "normal(batch, text2, image_dim)"}
_HISTORY = {
    "indices_hidden_states": "(arange(frames) + 9)[None].repeat(batch, 1)",
    "latents_history_short": "normal(batch, in_channels, 2, rows * 2, columns * 2)",
    "indices_latents_history_short": "(arange(2) + 7)[None].repeat(batch, 1)",
    "latents_history_mid": "normal(batch, in_channels, 2, rows * 2, columns * 2)",
    "indices_latents_history_mid": "(arange(2) + 5)[None].repeat(batch, 1)",
    "latents_history_long": "normal(batch, in_channels, 4, rows * 2, columns * 2)",
    "indices_latents_history_long": "(arange(4) + 1)[None].repeat(batch, 1)",
}

WAN: dict[str, Entry] = {
    "AnyFlowTransformer3DModel": Entry(
        reason="frames come first; two timesteps per frame",
        inputs={
            "hidden_states": FRAMES_FIRST,
            "timestep": "times(batch, frames)",
            "r_timestep": "times(batch, frames) * 0.5",
        },
    ),
    "AnyFlowFARTransformer3DModel": Entry(
        reason="frames come first, in chunks of which the oldest are compressed; two timesteps per frame",
        config={"full_chunk_limit": 2, "chunk_partition": (1, 1, 1)},
        sizes={"frames": 3, "rows": 4, "columns": 6},
        inputs={
            "hidden_states": FRAMES_FIRST,
            "timestep": "times(batch, frames)",
            "r_timestep": "times(batch, frames) * 0.5",
            "chunk_partition": "[1, 1, 1]",
        },
    ),
    "ChronoEditTransformer3DModel": Entry(
        variants={
            "image": Variant(
                "published models take an image's tokens",
                _IMAGE,
                _IMAGE_TOKENS,
            )
        }
    ),
    "HeliosTransformer3DModel": Entry(
        reason="the noise-free history in three sizes of patches",
        inputs=_HISTORY,
        variants={
            "first chunk": Variant("no history yet", {}, dict.fromkeys(_HISTORY, "")),
            "amplified": Variant("a learned scale of the history's keys", {"is_amplify_history": True}),
        },
    ),
    "SkyReelsV2Transformer3DModel": Entry(
        variants={
            "image": Variant(
                "image to video",
                _IMAGE,
                _IMAGE_TOKENS,
            ),
            "first and last": Variant(
                "two images, with positions",
                {**_IMAGE, "pos_embed_seq_len": 22},
                {**_TEXT, "encoder_hidden_states_image": "normal(2 * batch, text2, image_dim)"},
                even_only="the learned table fits one number of tokens",
            ),
            "diffusion forcing, all frames": Variant(
                "a timestep per frame, frame rates, every frame sees all others",
                {"inject_sample_info": True},
                {"timestep": "times(batch, frames)", "enable_diffusion_forcing": "true", "fps": "[0, 1][:batch]"},
                sizes={"batch": 1, "frames": 4},  # the frame rates of several samples do not fit the timesteps
            ),
            "diffusion forcing": Variant(
                "a timestep per frame, frame rates, blocks of frames that see only earlier ones",
                {"inject_sample_info": True, "num_frame_per_block": 2},
                {"timestep": "times(batch, frames)", "enable_diffusion_forcing": "true", "fps": "[0, 1][:batch]"},
                sizes={"batch": 1, "frames": 4},  # the frame rates of several samples do not fit the timesteps
            ),
            "diffusion forcing, 14b": Variant(
                "a timestep per frame, no frame rates",
                {},
                {"timestep": "times(batch, frames)", "enable_diffusion_forcing": "true"},
            ),
        }
    ),
    "WanTransformer3DModel": Entry(
        variants={
            "2.1 image": Variant(
                "image to video: the image's tokens",
                _IMAGE,
                _IMAGE_TOKENS,
            ),
            "2.1 first and last": Variant(
                "two images, with positions",
                {**_IMAGE, "pos_embed_seq_len": 22},
                {**_TEXT, "encoder_hidden_states_image": "normal(2 * batch, text2, image_dim)"},
                even_only="the learned table fits one number of tokens",
            ),
            "2.2 image": Variant(
                "image to video: the image in further channels", {"in_channels": 20, "out_channels": 8}
            ),
            "2.2 5b": Variant("a timestep per token", {}, {"timestep": "times(batch, frames * rows * columns)"}),
        }
    ),
    "WanAnimateTransformer3DModel": Entry(
        reason="pose latents and a face; as many frames of the face as the encoder's strides want",
        config={
            **_IMAGE,
            "in_channels": 12,
            "latent_channels": 4,
            "out_channels": 4,
            "num_layers": 4,
            "inject_face_latents_blocks": 2,
            "motion_encoder_channel_sizes": {"4": 10, "8": 8, "16": 6},
            "motion_encoder_size": 16,
            "motion_style_dim": 10,
            "motion_dim": 4,
            "motion_encoder_dim": 12,
            "face_encoder_hidden_dim": 16,
            "face_encoder_num_heads": 2,
        },
        inputs={
            **_IMAGE_TOKENS,
            "pose_hidden_states": "normal(batch, latent_channels, frames - 1, rows * 2, columns * 2)",
            "face_pixel_values": "normal(batch, 3, 4 * (frames - 1), 16, 16)",
        },
        variants={
            "motion in parts": Variant("the face's frames a few at a time", {}, {"motion_encode_batch_size": "3"}),
            "published channels": Variant(
                "published configs leave the channels of the motion encoder to the class",
                {"motion_encoder_channel_sizes": None},
            ),
        },
    ),
    "WanAnimate2Transformer3DModel": Entry(
        reason="lists of samples, a cache that the first call fills, grids as tensors",
        config={"dim": 64, "num_heads": 4, "in_dim": 12, "out_dim": 4, "text_len": 24},
        inputs={
            "hidden_states": "list(normal(batch, 4, frames, rows * 2, columns * 2))",
            "condition_latents": "list(normal(batch, 8, frames, rows * 2, columns * 2))",
            "encoder_hidden_states": "list(normal(batch, text, text_dim))",
            "encoder_hidden_states_image": "normal(batch, text2, 1280)",
            "kv_cache": "new('WanAnimate2KVCache', num_layers)",
            "kv_cache_mode": "'extract'",
            "seq_len": "frames * rows * columns",
            "offset_grid_sizes": "tensor([[frames, rows, columns]]).repeat(batch, 1)",
        },
    ),
    "WanVACETransformer3DModel": Entry(
        reason="a control video with channels of its own, its strength per layer",
        config={"num_layers": 3, "vace_layers": [0, 2], "vace_in_channels": 12},
        inputs={
            "control_hidden_states": "normal(batch, vace_in_channels, frames, rows * 2, columns * 2)",
            "control_hidden_states_scale": "tensor([0.7, 1.3])",
        },
    ),
}
