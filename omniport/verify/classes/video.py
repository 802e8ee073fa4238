"""Recipes of video transformers; Wan and its relatives, and Cosmos, are in modules of their own."""

from __future__ import annotations

from omniport.verify.classes.common import FRAMES_FIRST, FRAMES_FOLDED, VIDEO_TOKENS
from omniport.verify.classes.entry import Entry, Variant

_COG_SIZES = {"max_text_seq_length": 20, "sample_width": 12, "sample_height": 8, "sample_frames": 9}
_COG_ROPE = {"image_rotary_emb": "rope(frames * rows * columns, attention_head_dim)"}
_FACE = {
    "is_train_face": True,
    "use_rotary_positional_embeddings": True,
    "cross_attn_interval": 1,
    "cross_attn_dim_head": 12,
    "cross_attn_num_heads": 4,
    "LFE_id_dim": 20,
    "LFE_vit_dim": 24,
    "LFE_depth": 4,
    "LFE_dim_head": 8,
    "LFE_num_heads": 2,
    "LFE_num_id_token": 3,
    "LFE_num_querie": 5,
    "LFE_output_dim": 42,
    "LFE_num_scale": 2,
}
_LTX23 = {
    "gated_attn": True,
    "audio_gated_attn": True,
    "cross_attn_mod": True,
    "audio_cross_attn_mod": True,
    "use_prompt_embeddings": False,
    "perturbed_attn": True,
    "rope_type": "split",
}
_LTX23_TEXT = {
    "encoder_hidden_states": "normal(batch, text, cross_attention_dim)",
    "audio_encoder_hidden_states": "normal(batch, text, audio_cross_attention_dim)",
}

VIDEO: dict[str, Entry] = {
    "AllegroTransformer3DModel": Entry(
        reason="the head is split into three rope axes of equal size; tables and positions come as inputs",
        config={"attention_head_dim": 24, "cross_attention_dim": 96},
        inputs={
            "hidden_states": FRAMES_FOLDED,
            "image_rotary_emb": "((rope(frames, 8, true), rope(rows, 8, true), rope(columns, 8, true)), "
            "tuple(grid(frames, rows, columns).long().T[:, None]))",
        },
    ),
    "CogVideoXTransformer3DModel": Entry(
        reason="frames come first; position tables are made for the sizes in the config",
        config=_COG_SIZES,
        inputs={
            "hidden_states": FRAMES_FIRST,
            "encoder_hidden_states": "normal(batch, max_text_seq_length, text_embed_dim)",
        },
        variants={
            "1.0 5b": Variant("rotary positions", {"use_rotary_positional_embeddings": True}, _COG_ROPE),
            "1.0 5b image": Variant(
                "learned positions besides, for one size only",
                {"use_rotary_positional_embeddings": True, "use_learned_positional_embeddings": True},
                _COG_ROPE,
                even_only="the learned table fits one size",
            ),
            "1.5": Variant(
                "patches over two frames",
                {"use_rotary_positional_embeddings": True, "patch_size_t": 2, "patch_bias": False},
                {
                    "hidden_states": "normal(batch, frames * 2, in_channels, rows * 2, columns * 2)",
                    **_COG_ROPE,
                },
            ),
            "1.5 image": Variant(
                "the frame rate as offset embedding",
                {
                    "use_rotary_positional_embeddings": True,
                    "patch_size_t": 2,
                    "patch_bias": False,
                    "ofs_embed_dim": 48,
                },
                {
                    "hidden_states": "normal(batch, frames * 2, in_channels, rows * 2, columns * 2)",
                    "ofs": "tensor([2.0])",
                    **_COG_ROPE,
                },
            ),
        },
    ),
    "ConsisIDTransformer3DModel": Entry(
        reason="frames come first; published models take a face: its embedding and the layers of an image encoder",
        config={**_COG_SIZES, **_FACE},
        inputs={
            "hidden_states": FRAMES_FIRST,
            "encoder_hidden_states": "normal(batch, max_text_seq_length, text_embed_dim)",
            "id_cond": "normal(batch, LFE_id_dim)",
            "id_vit_hidden": "list(normal(LFE_num_scale, batch, 7, LFE_vit_dim))",
            **_COG_ROPE,
        },
    ),
    "EasyAnimateTransformer3DModel": Entry(
        reason="the constructor's defaults leave out what every published config has",
        config={"in_channels": 4, "out_channels": 4, "patch_size": 2},
        inputs={"hidden_states": "normal(batch, out_channels, frames, rows * 2, columns * 2)"},
        variants={
            "inpaint": Variant(
                "the masked video joins the channels; the text is normalised first",
                {"in_channels": 9, "add_norm_text_encoder": True},
                {"inpaint_latents": "normal(batch, 5, frames, rows * 2, columns * 2)"},
            ),
            "two texts": Variant(
                "a T5 text besides, and norms after the feed-forward layers",
                {"text_embed_dim_t5": 36, "after_norm": True},
                {"encoder_hidden_states_t5": "normal(batch, text2, text_embed_dim_t5)"},
            ),
            "shared": Variant(
                "later blocks share one projection for text and video",
                {"mmdit_layers": 1, "add_norm_text_encoder": True},
            ),
            "control": Variant(
                "a control video joins the channels",
                {"in_channels": 8},
                {"control_latents": "normal(batch, 4, frames, rows * 2, columns * 2)"},
            ),
        },
    ),
    "HunyuanVideoTransformer3DModel": Entry(
        variants={
            "token replace": Variant(
                "image to video: the first frame is clean", {"image_condition_type": "token_replace"}
            ),
            "latent concat": Variant(
                "image to video: no guidance", {"image_condition_type": "latent_concat", "guidance_embeds": False}
            ),
        }
    ),
    "HunyuanVideo15Transformer3DModel": Entry(
        reason="the image's tokens are as many as its encoder gives",
        config={"in_channels": 9, "out_channels": 4},
        inputs={"image_embeds": "normal(batch, 7, image_embed_dim)"},
        variants={
            "text to video": Variant(
                "zeros instead of an image", {}, {"image_embeds": "zeros(batch, 7, image_embed_dim)"}
            ),
            "mean flow": Variant("super-resolution models", {"use_meanflow": True}),
        },
    ),
    "HunyuanVideoFramepackTransformer3DModel": Entry(
        reason="clean and older latents in three sizes of patches; published models have both embedders",
        config={"has_image_proj": True, "has_clean_x_embedder": True},
        inputs={
            "image_embeds": "normal(batch, 7, image_proj_dim)",
            "indices_latents": "arange(frames) + 9",
            "latents_clean": "normal(batch, in_channels, 2, rows * 2, columns * 2)",
            "indices_latents_clean": "tensor([0, 8])",
            "latents_history_2x": "normal(batch, in_channels, 2, rows * 2, columns * 2)",
            "indices_latents_history_2x": "arange(2) + 6",
            "latents_history_4x": "normal(batch, in_channels, 4, rows * 2, columns * 2)",
            "indices_latents_history_4x": "arange(4) + 2",
        },
    ),
    "JoyImageEditTransformer3DModel": Entry(
        variants={
            "several images": Variant(
                "the edited image last, its sources before",
                {},
                {"hidden_states": "normal(batch, 2, in_channels, 1, rows * 2, columns * 2)"},
            )
        }
    ),
    "JoyImageEditPlusTransformer3DModel": Entry(
        reason="patches of several images per sample, padded to the longest",
        words={"length": "rows * columns + 6"},
        inputs={
            "hidden_states": "normal(batch, length, in_channels, 1, 2, 2)",
            "shape_list": "[[(1, rows, columns), (1, 2, 3)], [(1, rows, columns)]][:batch]",
        },
    ),
    "Kandinsky5Transformer3DModel": Entry(
        reason="channels come last; positions are given per axis",
        inputs={
            "hidden_states": "normal(batch, frames, rows * 2, columns * 2, in_visual_dim)",
            "visual_rope_pos": "[arange(frames), arange(rows), arange(columns)]",
            "text_rope_pos": "arange(text)",
            "scale_factor": "(1.0, 2.0, 2.0)",
        },
        variants={
            "image": Variant(
                "image to video: the clean latents and a mask join the channels",
                {"visual_cond": True},
                {"hidden_states": "normal(batch, frames, rows * 2, columns * 2, 2 * in_visual_dim + 1)"},
            )
        },
    ),
    "LatteTransformer3DModel": Entry(
        reason="the constructor's defaults leave out what every published config has; one number of frames",
        config={
            "in_channels": 4,
            "out_channels": 8,
            "patch_size": 2,
            "cross_attention_dim": 64,
            "caption_channels": 44,
            "activation_fn": "gelu-approximate",
            "attention_bias": True,
            "norm_type": "ada_norm_single",
            "norm_elementwise_affine": False,
            "num_embeds_ada_norm": 1000,
            "video_length": 3,
        },
        sizes={"frames": 3},
        inputs={
            "hidden_states": "normal(batch, in_channels, video_length, rows * 2, columns * 2)",
            "encoder_attention_mask": "",
        },
        variants={"images": Variant("frames that do not see each other", {}, {"enable_temporal_attentions": "False"})},
    ),
    "LTXVideoTransformer3DModel": Entry(
        reason="tokens of all frames; the grid is scaled by the caller",
        inputs={"hidden_states": VIDEO_TOKENS, "rope_interpolation_scale": "(0.3, 32.0, 32.0)"},
        variants={
            "conditions": Variant(
                "a timestep and coordinates per token",
                {},
                {
                    "timestep": "times(batch, frames * rows * columns)",
                    "video_coords": "(grid(frames, rows, columns).T * 8)[None].repeat(batch, 1, 1)",
                    "rope_interpolation_scale": "",
                },
            )
        },
    ),
    "LTX2VideoTransformer3DModel": Entry(
        reason="a second stream for sound, with heads of another size",
        config={
            "audio_in_channels": 12,
            "audio_out_channels": 12,
            "audio_num_attention_heads": 4,
            "audio_attention_head_dim": 8,
            "audio_cross_attention_dim": 32,
        },
        inputs={
            "hidden_states": VIDEO_TOKENS,
            "audio_hidden_states": "normal(batch, 9, audio_in_channels)",
            "audio_encoder_hidden_states": "normal(batch, text, caption_channels)",
            "audio_encoder_attention_mask": "keep(batch, text)",
            "audio_num_frames": "9",
            "sigma": "times(batch)",
        },
        variants={
            "2.0": Variant("split rope alone", {"rope_type": "split"}),
            "2.3": Variant("gated attention, modulated text, split rope", _LTX23, _LTX23_TEXT),
            "2.3 perturbed": Variant(
                "guidance by a block whose attention some samples skip; each stream sees the other's noise level",
                _LTX23,
                {
                    **_LTX23_TEXT,
                    "audio_sigma": "times(batch) * 0.5",
                    "use_cross_timestep": "true",
                    "spatio_temporal_guidance_blocks": "[1]",
                    "perturbation_mask": "tensor([1.0, 0.0])[:batch]",
                },
            ),
            "2.3 all perturbed": Variant(
                "guidance by a block whose attention is skipped",
                _LTX23,
                {**_LTX23_TEXT, "spatio_temporal_guidance_blocks": "[0]"},
            ),
            "2.5": Variant(
                "no bias in the video's feed-forward layers, a position of its own for keyframes",
                {**_LTX23, "ff_bias": False, "use_keyframes_abs_pos_embedding": True},
                _LTX23_TEXT,
            ),
            "isolated": Variant(
                "guidance by streams that do not see each other; coordinates come from the pipeline",
                {},
                {
                    "isolate_modalities": "true",
                    "video_coords": "span(0.0, 40.0, batch, 3, frames * rows * columns, 2)",
                    "audio_coords": "span(0.0, 3.0, batch, 1, 9, 2)",
                },
            ),
            "references": Variant(
                "reference tokens that the video sees in part; another frame rate",
                {},
                {
                    "fps": "17.0",
                    "video_self_attention_mask": "span(0.0, 1.0, batch, frames * rows * columns, "
                    "frames * rows * columns).round(decimals=1)",
                },
            ),
            "clean frames": Variant(
                "image to video: a timestep per token",
                {},
                {"timestep": "times(batch, frames * rows * columns)", "audio_timestep": "times(batch)"},
            ),
        },
    ),
    "MiniMaxH3Transformer3DModel": Entry(
        reason="one packed sequence of text, video and sound tokens by index tensors; patches come ready",
        config={"audio_in_channels": 12, "time_embed_hidden_dim": 36, "rope_freq_dim": 2},
        words={"image": "rows * columns", "length": "text + image + 7"},
        inputs={
            "hidden_states": "normal(batch, image, in_channels * 4)",
            "audio_hidden_states": "normal(batch, 7, audio_in_channels)",
            "timestep": "times(2)",
            "timestep_indices": "(arange(length) >= text).long()",
            "token_tags": "(arange(length) >= text).long() + (arange(length) >= text + image).long()",
            "position_ids": "cat([ids(3, last=text), ids(3, rows, columns), ids(3, last=7)])",
            "text_indices": "arange(text)",
            "video_indices": "arange(text, text + image)",
            "audio_indices": "arange(text + image, length)",
        },
    ),
    "MochiTransformer3DModel": Entry(
        reason="patches are embedded frame by frame",
        inputs={"hidden_states": FRAMES_FOLDED},
    ),
    "MotifVideoTransformer3DModel": Entry(
        variants={
            "image": Variant(
                "image tokens, cross-attention to the text, and decoder blocks at the end",
                {
                    "image_embed_dim": 52,
                    "num_decoder_layers": 1,
                    "enable_text_cross_attention_dual": True,
                    "enable_text_cross_attention_single": True,
                },
            )
        }
    ),
    "SanaVideoTransformer3DModel": Entry(
        variants={"guidance": Variant("embedded guidance", {"guidance_embeds": True})}
    ),
}
