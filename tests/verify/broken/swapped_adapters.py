"""The fused layer's parts are named in another order: adapters of q go to k, while checkpoints load as they should."""

from twin_base import Pipeline, Transformer, post_process  # noqa: F401

_first, _second, *_rest = Transformer.stacked_params_mapping
Transformer.stacked_params_mapping = [_second, _first, *_rest]
