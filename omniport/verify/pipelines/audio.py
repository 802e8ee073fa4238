"""Recipes of audio pipelines."""

from __future__ import annotations

from omniport.verify.pipelines.form import Recipe

AUDIO: dict[str, Recipe] = {
    "StableAudio3InpaintPipeline": Recipe(
        "the mask is over time", call={"mask": None, "mask_start_seconds": 2.0, "mask_end_seconds": 5.0}
    ),
    "AceStepPipeline": Recipe(
        "published with Qwen3 for the texts and with times from 1 to 0; a sound of few samples",
        {"text_encoder": "transformers.Qwen3Model", "tokenizer": "transformers.Qwen2TokenizerFast"},
        configs={
            "vae": {"sampling_rate": 200},
            "transformer": {"model_version": "base"},
            "scheduler": {"num_train_timesteps": 1, "shift": 1.0},
        },
        call={"audio_duration": 4.0, "lyrics": "a song of a cat"},
    ),
    "LongCatAudioDiTPipeline": Recipe(
        "the tokenizer has no class of its own; a short sound",
        {"tokenizer": "transformers.T5TokenizerFast"},
        call={"audio_duration_s": 2.0},
    ),
    "StableAudioPipeline": Recipe("a short sound", call={"audio_end_in_s": 10.0, "initial_audio_waveforms": None}),
}
