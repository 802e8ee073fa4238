"""cache-dit is told that a step makes one forward: both branches of guidance share one cache."""

from twin_base import Pipeline, Transformer, post_process  # noqa: F401

Transformer._cache_dit_adapter_config.has_separate_cfg = False
