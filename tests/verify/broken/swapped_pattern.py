"""cache-dit is told that the blocks return image before text: with it the two streams are swapped."""

from cache_dit import ForwardPattern
from twin_base import Pipeline, Transformer, post_process  # noqa: F401
from vllm_omni.diffusion.cache.cachedit import CacheDiTAdapterConfig

_patterns = Transformer._cache_dit_adapter_config.block_forward_patterns
Transformer._cache_dit_adapter_config = CacheDiTAdapterConfig(
    block_forward_patterns=dict.fromkeys(_patterns, ForwardPattern.Pattern_0), has_separate_cfg=True
)
