"""Which check of which feature finds which mistake of ``broken/``."""

from __future__ import annotations

TWO_SAMPLES = "2 samples, 4 by 6 tokens"

# twin, feature, the check that must fail
CAUGHT = [
    ("swapped_kv", "parity", TWO_SAMPLES),
    ("swapped_kv", "e2e", "base"),
    ("mask_of_four_axes", "flash", "FlashAttention takes every call"),
    ("queries_in_other_places", "flash", "FlashAttention takes every call"),
    ("queries_in_other_places", "flash", "transformer"),
    ("dropped_weight", "load", "every checkpoint tensor is consumed"),
    ("dropped_weight", "parity", TWO_SAMPLES),
    ("lenient_loading", "load", "an incomplete or foreign checkpoint is refused"),
    ("missing_reduce", "tp2", f"transformer, {TWO_SAMPLES}"),
    ("missing_reduce", "tp2", "pipeline, base"),
    ("missing_reduce", "tp4", f"transformer, {TWO_SAMPLES}"),
    ("half_of_the_layers", "tp2", "the layers of the blocks are shared"),
    ("half_of_the_layers", "tp4", "the layers of the blocks are shared"),
    ("summed_twice", "tp2", "no collective is too much"),
    ("summed_twice", "tp4", "no collective is too much"),
    ("no_sp_plan", "sp2", "image tokens in the queries of one rank's attention"),
    ("no_sp_plan", "sp2", "image tokens in one rank's blocks"),
    ("no_sp_plan", "sp2", "vLLM-Omni applies a plan"),
    ("no_sp_plan", "ring2", "image tokens in one rank's blocks"),
    ("negative_is_positive", "cfg2", "against the reference"),
    ("negative_is_positive", "e2e", "base"),
    ("guidance_on_every_rank", "cfg2", "each rank runs half of the forwards"),
    ("every_block_on_each_stage", "pp2", "each stage holds and runs its share of the blocks"),
    ("other_streams", "pp2", "transformer"),
    ("other_streams", "pp2", "pipeline, base"),
    ("one_block_sharded", "hsdp2", "each rank holds its share"),
    ("no_offload_blocks", "layerwise", "blocks are streamed"),
    ("no_encoders", "offload", "transformer and encoders are swapped"),
    ("encoder_run_in_parts", "offload", "what computes has its weights"),
    ("syncing_block", "compile", "blocks compile without a graph break"),
    ("swapped_pattern", "cache", "transformer"),
    ("shared_cache", "cache", "has_separate_cfg says how many forwards a step makes"),
    ("forwards_by_turns", "cache", "has_separate_cfg says how many forwards a step makes"),
    ("other_tokens", "cache", "every step takes as many tokens"),
    ("swapped_adapters", "lora", "transformer"),
    ("shared_prefix", "quant", "every linear of the blocks is asked about"),
    ("wrong_default", "e2e", "defaults"),
    ("darker_image", "e2e", "base: decoded"),
    ("darker_image", "e2e", "base: file after post-processing"),
]

# twin, feature, a check that the mistake does not touch: what is caught above is caught by its own check
UNTOUCHED = [
    ("mask_of_four_axes", "parity", TWO_SAMPLES),
    ("queries_in_other_places", "parity", TWO_SAMPLES),
    ("missing_reduce", "parity", TWO_SAMPLES),
    ("half_of_the_layers", "tp2", f"transformer, {TWO_SAMPLES}"),
    ("half_of_the_layers", "tp2", "a rank holds less than the whole"),
    ("half_of_the_layers", "tp4", f"transformer, {TWO_SAMPLES}"),
    ("half_of_the_layers", "tp4", "a rank holds less than the whole"),
    ("summed_twice", "tp2", f"transformer, {TWO_SAMPLES}"),
    ("no_sp_plan", "sp2", f"transformer, {TWO_SAMPLES}"),
    ("no_sp_plan", "parity", TWO_SAMPLES),
    ("negative_is_positive", "cfg2", "against one rank"),
    ("guidance_on_every_rank", "cfg2", "against the reference"),
    ("every_block_on_each_stage", "pp2", "transformer"),
    ("other_streams", "parity", TWO_SAMPLES),
    ("one_block_sharded", "hsdp2", "transformer"),
    ("no_encoders", "offload", "pipeline, base"),
    ("encoder_run_in_parts", "offload", "pipeline, base"),
    ("encoder_run_in_parts", "e2e", "base"),
    ("inputs_where_the_encoder_is", "e2e", "base"),
    ("syncing_block", "compile", "transformer"),
    ("shared_cache", "cache", "transformer"),
    ("forwards_by_turns", "cache", "transformer"),
    ("forwards_by_turns", "cache", "every step takes as many tokens"),
    ("other_tokens", "cache", "has_separate_cfg says how many forwards a step makes"),
    ("swapped_adapters", "parity", TWO_SAMPLES),
    ("wrong_default", "e2e", "base"),
    ("darker_image", "e2e", "base"),
]

RAISING = ("raises_on_one_rank", "tp2")

ELSEWHERE = ("inputs_where_the_encoder_is", "offload")


def features_of(twin: str) -> tuple[str, ...]:
    """The features that the tests look at for one twin."""
    rows = [(name, feature) for name, feature, _ in [*CAUGHT, *UNTOUCHED]] + [RAISING, ELSEWHERE]
    return tuple({feature: None for name, feature in rows if name == twin})
