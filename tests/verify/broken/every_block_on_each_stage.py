"""Each stage makes all blocks and runs its own: the result is right, and nothing is saved."""

from twin_base import Pipeline, Transformer, post_process  # noqa: F401
from vllm_omni.diffusion.distributed import parallel_state

_init = Transformer.__init__


def __init__(self, *args, **kwargs):
    group = parallel_state.get_pp_group()
    size, rank = group.world_size, group.rank_in_group
    group.world_size, group.rank_in_group = 1, 0
    try:
        _init(self, *args, **kwargs)
    finally:
        group.world_size, group.rank_in_group = size, rank
    half = self.end_layer // 2
    if size > 1:
        self.start_layer, self.end_layer = (half, self.end_layer) if rank else (0, half)


__init__.__wrapped__ = _init
Transformer.__init__ = __init__
