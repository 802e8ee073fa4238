"""Recipes of image transformers."""

from __future__ import annotations

from omniport.verify.classes.entry import Entry, Variant

_GUIDANCE = {"guidance_embeds": True}
_SD35_MEDIUM = {"qk_norm": "rms_norm", "dual_attention_layers": (0, 1), "num_layers": 3}
# A source image of two by three tokens behind the noise.
_SOURCE_BEHIND = {
    "hidden_states": "normal(batch, rows * columns + 6, in_channels)",
    "img_shapes": "[[(1, rows, columns), (1, 2, 3)]] * batch",
}

IMAGE: dict[str, Entry] = {
    "UVit2DModel": Entry(
        reason="tokens of a picture, and five sizes that are embedded one by one",
        inputs={
            "input_ids": "integers(vocab_size, batch, rows, columns)",
            "pooled_text_emb": "normal(batch, cond_embed_dim)",
            "micro_conds": "integers(64, batch, 5).float()",
        },
    ),
    "BriaFiboTransformer2DModel": Entry(
        reason="one text layer per block, as a list",
        inputs={
            "text_encoder_layers": "list(normal(num_layers + num_single_layers, batch, text, text_encoder_dim))",
        },
    ),
    "ChromaTransformer2DModel": Entry(
        reason="the approximator has sizes of its own; its pipeline passes a float mask over text and image",
        config={"approximator_hidden_dim": 72, "approximator_layers": 2},
        inputs={"attention_mask": "cat([keep(batch, text).float(), ones(batch, rows * columns)], 1)"},
    ),
    "CogView4Transformer2DModel": Entry(
        variants={
            "text mask": Variant("the mask is added as 0 and 1", {}, {"attention_mask": "keep(batch, text).long()"})
        }
    ),
    "DiTTransformer2DModel": Entry(
        reason="class labels instead of a text; square images only",
        config={"num_embeds_ada_norm": 17},
        inputs={
            "hidden_states": "normal(batch, in_channels, rows * 2, rows * 2)",
            "class_labels": "integers(num_embeds_ada_norm, batch)",
        },
    ),
    "ErnieImageTransformer2DModel": Entry(
        reason="the text has names of its own, and lengths instead of a mask",
        inputs={"text_bth": "normal(batch, text, text_in_dim)", "text_lens": "lengths(batch, text)"},
    ),
    "FluxTransformer2DModel": Entry(
        variants={
            "guidance": Variant("FLUX.1-dev is distilled", _GUIDANCE),
            "fill": Variant(
                "FLUX.1-Fill and the control models see further channels",
                {**_GUIDANCE, "in_channels": 24, "out_channels": 8},
            ),
        }
    ),
    "Flux2Transformer2DModel": Entry(
        variants={"klein": Variant("FLUX.2-klein has no embedded guidance", {"guidance_embeds": False})},
        untried={"num_ref_tokens": "read with a cache of reference tokens only, which a port leaves out"},
    ),
    "GlmImageTransformer2DModel": Entry(
        reason="a code of the prior model for each image token, dropped in places",
        config={"prior_vq_quantizer_codebook_size": 97},
        inputs={
            "prior_token_id": "integers(97, batch, rows * columns)",
            "prior_token_drop": "integers(3, batch, rows * columns) == 0",
        },
    ),
    "HiDreamImageTransformer2DModel": Entry(
        reason="the constructor's defaults leave out what every published config has; lists of text layers",
        config={
            "patch_size": 2,
            "caption_channels": [36, 40],
            "llama_layers": [0, 1, 2, 3, 4],
            "axes_dims_rope": (8, 4, 4),
            "max_resolution": (12, 16),
            "num_routed_experts": 3,
        },
        inputs={
            "hidden_states": "normal(batch, in_channels, rows * 2, columns * 2)",
            "encoder_hidden_states_t5": "normal(batch, text2, caption_channels[0])",
            "encoder_hidden_states_llama3": "normal(5, batch, text, caption_channels[1])",
        },
        variants={
            "square": Variant(
                "no padding for square images", {}, {"hidden_states": "normal(batch, in_channels, rows * 2, rows * 2)"}
            )
        },
    ),
    "HunyuanDiT2DModel": Entry(
        reason="two texts of fixed lengths, image size and style, rope table as input; six blocks for two skips",
        config={
            "in_channels": 4,
            "patch_size": 2,
            "hidden_size": 64,
            "num_layers": 6,
            "text_len": 20,
            "text_len_t5": 11,
            "cross_attention_dim_t5": 48,
        },
        inputs={
            "encoder_hidden_states": "normal(batch, text_len, cross_attention_dim)",
            "text_embedding_mask": "keep(batch, text_len)",
            "encoder_hidden_states_t5": "normal(batch, text_len_t5, cross_attention_dim_t5)",
            "text_embedding_mask_t5": "keep(batch, text_len_t5)",
            "image_meta_size": "span(5.0, 60.0, batch, 6) if use_style_cond_and_image_meta_size else None",
            "style": "zeros(batch, dtype=long) if use_style_cond_and_image_meta_size else None",
            "image_rotary_emb": "rope(rows * columns, attention_head_dim)",
        },
        variants={"1.2": Variant("v1.2 has no style", {"use_style_cond_and_image_meta_size": False})},
    ),
    "HunyuanImageTransformer2DModel": Entry(
        variants={
            "two texts": Variant("HunyuanImage 2.1 has a ByT5 text besides", {"text_embed_2_dim": 36}),
            "distilled": Variant(
                "guidance and mean flow", {"text_embed_2_dim": 36, "guidance_embeds": True, "use_meanflow": True}
            ),
            "refiner": Variant(
                "patches of three axes",
                {"patch_size": (1, 1, 1), "rope_axes_dim": (4, 6, 6), "guidance_embeds": True},
            ),
        },
    ),
    "Ideogram4Transformer2DModel": Entry(
        reason="one packed sequence: text, image and padding by indicator; segments attend to themselves only",
        config={"mrope_section": (4, 2, 2)},
        words={"length": "text + rows * columns"},
        inputs={
            "hidden_states": "normal(batch, length, in_channels)",
            "encoder_hidden_states": "normal(batch, length, llm_features_dim)",
            "position_ids": "cat([ids(3, last=text), ids(3, rows, columns)]).long()[None].repeat(batch, 1, 1)",
            "segment_ids": "cat([keep(batch, text).long() - 1, zeros(batch, rows * columns, dtype=long)], 1)",
            "indicator": "cat([keep(batch, text).long() * 4 - 1, zeros(batch, rows * columns, dtype=long) + 2], 1)",
        },
    ),
    "Krea2Transformer2DModel": Entry(
        reason="several layers of the text encoder, fused by attention with heads of its own",
        config={
            "num_text_layers": 3,
            "text_hidden_dim": 48,
            "text_num_attention_heads": 4,
            "text_num_key_value_heads": 2,
            "text_intermediate_size": 56,
            "timestep_embed_dim": 32,
        },
        inputs={
            "encoder_hidden_states": "normal(batch, text, num_text_layers, text_hidden_dim)",
            "position_ids": "cat([zeros(text, 3), ids(3, rows, columns)])",
        },
    ),
    "LongCatImageTransformer2DModel": Entry(untried={"guidance": "the reference's forward does not read it"}),
    "LuminaNextDiT2DModel": Entry(
        reason="rope table of the largest grid as complex numbers",
        config={"num_kv_heads": 2},
        inputs={"image_rotary_emb": "polar(angles(16, 16, 8))", "cross_attention_kwargs": "{}"},
    ),
    "NucleusMoEImageTransformer2DModel": Entry(
        reason="three blocks with experts, so that the strategies differ; fewer experts",
        config={
            "num_layers": 3,
            "num_experts": 4,
            "capacity_factors": 2.0,
            "dense_moe_strategy": "leave_first_block_dense",
            "num_key_value_heads": 2,
        },
    ),
    "OmniGenTransformer2DModel": Entry(
        reason="one sequence of text with input images in place, time token and image; 3-D mask",
        config={
            "pad_token_id": 0,
            "pos_embed_max_size": 16,
            "time_step_dim": 32,
            "rope_scaling": {
                "type": "su",
                "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7],
                "long_factor": [2.0, 2.1, 2.2, 2.3, 2.4, 2.5, 2.6, 2.7],
            },
        },
        words={"length": "text + 1 + rows * columns", "causal": "arange(length)[None] <= arange(length)[:, None]"},
        inputs={
            "input_ids": "integers(97, batch, text)",
            "input_img_latents": "[normal(1, in_channels, 4, 6)]",
            "input_image_sizes": "{0: [[2, 8]]}",
            "position_ids": "arange(length)[None].repeat(batch, 1)",
            "attention_mask": "((causal | (arange(length) >= text)[:, None]) & "
            "cat([keep(batch, text).flip(1), ones(batch, 1 + rows * columns, dtype=bool)], 1)[:, None]).long()",
        },
        variants={
            "text to image": Variant("no input images", {}, {"input_img_latents": "[]", "input_image_sizes": "{}"})
        },
    ),
    "PixArtTransformer2DModel": Entry(
        reason="resolution and aspect ratio as further conditions, for images of 1024, in thirds of the width",
        config={"caption_channels": 44, "attention_head_dim": 24, "cross_attention_dim": 96},
        inputs={
            "added_cond_kwargs": "{'resolution': tensor([[64.0, 96.0]]).repeat(batch, 1), "
            "'aspect_ratio': tensor([[1.5]]).repeat(batch, 1)}",
        },
        variants={
            "sigma": Variant(
                "PixArt-Sigma has no further conditions",
                {"use_additional_conditions": False, "interpolation_scale": 2},
                {"added_cond_kwargs": "{'resolution': None, 'aspect_ratio': None}"},
            ),
            "alpha 512": Variant(
                "the size of the images says that there are no further conditions",
                {"sample_size": 64},
                {"added_cond_kwargs": "{'resolution': None, 'aspect_ratio': None}"},
            ),
        },
    ),
    "PRXTransformer2DModel": Entry(
        reason="rope axes have no default that fits the default heads; the mask is over the text",
        config={"hidden_size": 64, "axes_dim": [8, 8]},
        inputs={"attention_mask": "keep(batch, text)"},
        variants={
            "bottleneck": Variant("pixel models", {"bottleneck_size": 24, "resolution_embeds": True}),
        },
    ),
    "QwenImageTransformer2DModel": Entry(
        untried={"guidance": "no published model is distilled, and the reference's time embedding takes none"},
        variants={
            "edit": Variant(
                "Qwen-Image-Edit puts the source image behind the noise",
                {},
                _SOURCE_BEHIND,
            ),
            "edit 2511": Variant(
                "the source image is modulated as clean",
                {"zero_cond_t": True},
                _SOURCE_BEHIND,
            ),
            "layered": Variant(
                "Qwen-Image-Layered counts layers",
                {"use_layer3d_rope": True, "use_additional_t_cond": True},
                {
                    "hidden_states": "normal(batch, 2 * rows * columns + 6, in_channels)",
                    "img_shapes": "[[(1, rows, columns), (1, rows, columns), (1, 2, 3)]] * batch",
                    "additional_t_cond": "zeros(batch, dtype=long)",
                },
            ),
        },
    ),
    "SanaTransformer2DModel": Entry(
        variants={
            "sprint": Variant(
                "Sana-Sprint: embedded guidance and normalised queries",
                {"guidance_embeds": True, "qk_norm": "rms_norm_across_heads"},
            ),
            "1.5": Variant("normalised queries and keys", {"qk_norm": "rms_norm_across_heads"}),
            "sincos": Variant("the 2K and 4K models add position embeddings", {"interpolation_scale": 1.0}),
        }
    ),
    "SD3Transformer2DModel": Entry(
        variants={
            "3.5 large": Variant("normalised queries and keys", {"qk_norm": "rms_norm"}),
            "3.5 medium": Variant("a second self-attention in the first blocks", _SD35_MEDIUM),
            "3.5 medium, layers skipped": Variant(
                "guidance by a call that skips layers", _SD35_MEDIUM, {"skip_layers": "[1]"}
            ),
        }
    ),
    "Transformer2DModel": Entry(
        reason="VQ-Diffusion: codes of an autoencoder, one step for all samples",
        config={
            "num_vector_embeds": 33,
            "num_embeds_ada_norm": 100,
            "activation_fn": "geglu-approximate",
            "attention_bias": True,
            "cross_attention_dim": 72,
            "sample_size": 6,
        },
        inputs={
            "hidden_states": "integers(num_vector_embeds, batch, sample_size * sample_size)",
            "encoder_hidden_states": "normal(batch, text, cross_attention_dim)",
            "timestep": "integers(num_embeds_ada_norm)",
        },
    ),
    "ZImageTransformer2DModel": Entry(
        reason="lists of images and of texts of different lengths",
        inputs={
            "x": "list(normal(batch, in_channels, 1, rows * 2, columns * 2))",
            "t": "times(batch)",
            "cap_feats": "[normal(text, cap_feat_dim), normal(text2 * 4, cap_feat_dim)][:batch]",
        },
        variants={
            "omni": Variant(
                "given images before the noise, each with a caption before it and features of an image encoder",
                {"siglip_feat_dim": 28},
                {
                    "x": "[[normal(in_channels, 1, 4, 6), normal(in_channels, 1, rows * 2, columns * 2)], "
                    "[normal(in_channels, 1, rows * 2, columns * 2)]][:batch]",
                    "cap_feats": "[[normal(text, cap_feat_dim), normal(9, cap_feat_dim), normal(5, cap_feat_dim)], "
                    "[normal(text2, cap_feat_dim), normal(3, cap_feat_dim)]][:batch]",
                    "siglip_feats": "[[normal(3, 5, siglip_feat_dim), None], [None]][:batch]",
                    "image_noise_mask": "[[0, 1], [1]][:batch]",
                },
            )
        },
    ),
}
