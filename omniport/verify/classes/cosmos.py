"""Recipes of the Cosmos world models."""

from __future__ import annotations

from omniport.verify.classes.common import FRAMES_FOLDED
from omniport.verify.classes.entry import Entry, Variant

# Seven tokens of another kind behind those of the video.
_COSMOS3_TAIL = {
    "sequence_length": "length + 7",
    "position_ids": "cat([arange(text)[None].repeat(3, 1), grid(frames, rows, columns).T + text, "
    "(arange(7) + text + 9)[None].repeat(3, 1)], 1)",
}

COSMOS: dict[str, Entry] = {
    "CosmosTransformer3DModel": Entry(
        reason="the first embedder also takes a padding mask, of another size and resized; no attention mask",
        config={"max_size": (8, 16, 24)},
        inputs={
            "hidden_states": FRAMES_FOLDED,
            "fps": "16",
            "padding_mask": "integers(2, 1, 1, rows * 4, columns * 4).float()",
        },
        variants={
            "2": Variant(
                "Cosmos-Predict2: no learned positions, a condition mask, a timestep per frame",
                {"extra_pos_embed_type": None, "in_channels": 9},
                {
                    "hidden_states": "normal(batch, 8, frames, rows * 2, columns * 2)",
                    "condition_mask": "integers(2, batch, 1, frames, rows * 2, columns * 2).float()",
                    "timestep": "times(batch, 1, frames, 1, 1)",
                },
            ),
            "2.5": Variant(
                "Cosmos-Predict2.5: a projected text",
                {
                    "extra_pos_embed_type": None,
                    "use_crossattn_projection": True,
                    "crossattn_proj_in_channels": 44,
                    "encoder_hidden_states_channels": 40,
                },
                {"encoder_hidden_states": "normal(batch, text, crossattn_proj_in_channels)"},
            ),
            "2.5 image": Variant(
                "Cosmos-Transfer2.5: image tokens besides",
                {
                    "extra_pos_embed_type": None,
                    "use_crossattn_projection": True,
                    "crossattn_proj_in_channels": 44,
                    "encoder_hidden_states_channels": 40,
                    "img_context_dim_in": 52,
                    "img_context_num_tokens": 7,
                    "img_context_dim_out": 64,
                },
                {"encoder_hidden_states": "(normal(batch, text, crossattn_proj_in_channels), normal(batch, 7, 52))"},
            ),
        },
    ),
    "Cosmos3OmniTransformer": Entry(
        reason="one packed sequence of text and vision tokens of one sample, by index tensors",
        config={"latent_channel": 8, "patch_latent_dim": 32, "rope_axes_dim": (4, 2, 2)},
        words={"image": "rows * columns", "length": "text + frames * image"},
        inputs={
            "input_ids": "integers(97, text)",
            "text_indexes": "arange(text)",
            "position_ids": "cat([arange(text)[None].repeat(3, 1), grid(frames, rows, columns).T + text], 1)",
            "und_len": "text",
            "sequence_length": "length",
            "vision_tokens": "[normal(1, latent_channel, frames, rows * 2, columns * 2)]",
            "vision_token_shapes": "[(frames, rows, columns)]",
            "vision_sequence_indexes": "arange(text, length)",
            "vision_mse_loss_indexes": "arange(text + image, length)",
            "vision_timesteps": "span(300.0, 700.0, (frames - 1) * image)",
            "vision_noisy_frame_indexes": "[arange(1, frames)]",
        },
        variants={
            "sound": Variant(
                "sound tokens behind the video's",
                {"sound_gen": True, "sound_dim": 6},
                {
                    **_COSMOS3_TAIL,
                    "sound_tokens": "[normal(sound_dim, 7)]",
                    "sound_token_shapes": "[(7, 1, 1)]",
                    "sound_sequence_indexes": "arange(length, length + 7)",
                    "sound_mse_loss_indexes": "arange(length, length + 7)",
                    "sound_timesteps": "span(200.0, 500.0, 7)",
                    "sound_noisy_frame_indexes": "[arange(7)]",
                },
            ),
            "action": Variant(
                "actions of a robot behind the video's tokens, projected by its kind; the first is given",
                {"action_gen": True, "action_dim": 5, "num_embodiment_domains": 3},
                {
                    **_COSMOS3_TAIL,
                    "action_tokens": "[normal(7, action_dim)]",
                    "action_token_shapes": "[(7, 1, 1)]",
                    "action_sequence_indexes": "arange(length, length + 7)",
                    "action_mse_loss_indexes": "arange(length + 1, length + 7)",
                    "action_timesteps": "span(200.0, 500.0, 6)",
                    "action_noisy_frame_indexes": "[arange(1, 7)]",
                    "action_domain_ids": "[tensor([2])]",
                },
            ),
            "nemotron": Variant(
                "another text model: squared ReLU, its keys normalised for the video's queries alone",
                {"hidden_act": "relu2", "qk_norm_for_text": False, "use_und_k_norm_for_gen": True},
            ),
        },
    ),
}
