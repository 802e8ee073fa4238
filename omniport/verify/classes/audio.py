"""Recipes of sound and music transformers."""

from __future__ import annotations

from omniport.verify.classes.entry import Entry, Variant

AUDIO: dict[str, Entry] = {
    "AceStepTransformer1DModel": Entry(
        reason="noise and context share the channels; a window shorter than the sequence",
        config={"in_channels": 24, "audio_acoustic_hidden_dim": 8, "sliding_window": 3},
        inputs={
            "hidden_states": "normal(batch, rows * columns, audio_acoustic_hidden_dim)",
            "context_latents": "normal(batch, rows * columns, 16)",
            "encoder_hidden_states": "normal(batch, text, hidden_size)",
            "timestep_r": "times(batch) * 0.5",
        },
        variants={
            "XL": Variant(
                "a text of another width",
                {"encoder_hidden_size": 40},
                {"encoder_hidden_states": "normal(batch, text, encoder_hidden_size)"},
            )
        },
    ),
    "LongCatAudioDiTTransformer": Entry(
        reason="both sequences are padded; clean latents as a condition",
        config={"latent_dim": 8},
        inputs={
            "attention_mask": "keep(batch, rows * columns)",
            "latent_cond": "normal(batch, rows * columns, latent_dim)",
        },
    ),
    "MiniMaxMusic3Transformer1DModel": Entry(
        reason="the condition is aligned with the frames; the first convolution takes both",
        config={"rotary_dim": 8, "condition_dim": 12},
        inputs={
            "hidden_states": "normal(batch, in_channels, rows * columns)",
            "encoder_hidden_states": "normal(batch, rows * columns, condition_dim)",
        },
    ),
    "StableAudioDiTModel": Entry(
        reason="the cross-attention's width is that of its keys; rope table of half a head, one token is prepended",
        config={"cross_attention_dim": 32},
        inputs={
            "encoder_hidden_states": "normal(batch, text, cross_attention_input_dim)",
            "global_hidden_states": "normal(batch, 1, global_states_input_dim)",
            "rotary_embedding": "rope(rows * columns + 1, attention_head_dim // 2, true)",
            "encoder_attention_mask": "",
        },
    ),
    "StableAudio3DiTModel": Entry(
        reason="global and local conditions, prepended memory tokens",
        config={"io_channels": 8, "num_memory_tokens": 3, "local_add_cond_dim": 9},
        inputs={
            "global_hidden_states": "normal(batch, global_cond_dim)",
            "local_add_cond": "normal(batch, local_add_cond_dim, rows * columns)",
        },
        variants={
            "plain": Variant(
                "no difference of two attentions, no local condition",
                {"use_differential_attention": False},
                {"local_add_cond": ""},
            )
        },
    ),
}
