"""HSDP shards one block only: the rank keeps nearly everything."""

from twin_base import Pipeline, Transformer, post_process  # noqa: F401

Transformer._hsdp_shard_conditions = [lambda name, module: name == "transformer_blocks.0.norm1"]
Transformer._hsdp_ignored_modules = ["transformer_blocks", "single_transformer_blocks"]
