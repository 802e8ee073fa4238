"""The first row-parallel layer keeps its partial sums: nothing to see on one rank."""

from twin_base import Pipeline, Transformer, post_process  # noqa: F401
from vllm.model_executor.layers.linear import RowParallelLinear

_init = Transformer.__init__


def init(self, *args, **kwargs):
    _init(self, *args, **kwargs)
    next(m for m in self.modules() if isinstance(m, RowParallelLinear)).reduce_results = False


init.__wrapped__ = _init
Transformer.__init__ = init
