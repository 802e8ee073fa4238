"""The first row-parallel layer of a block sums its result over the ranks once more: right, and slower."""

from twin_base import Pipeline, Transformer, post_process  # noqa: F401
from vllm.distributed import get_tensor_model_parallel_world_size, tensor_model_parallel_all_reduce
from vllm.model_executor.layers.linear import RowParallelLinear

_init = Transformer.__init__


def init(self, *args, **kwargs):
    _init(self, *args, **kwargs)
    layer = next(m for m in self.transformer_blocks.modules() if isinstance(m, RowParallelLinear))
    size = get_tensor_model_parallel_world_size()
    layer.register_forward_hook(lambda _, args, output: tensor_model_parallel_all_reduce(output) / size)


init.__wrapped__ = _init
Transformer.__init__ = init
