"""The second tensor-parallel rank raises; the first waits for it in a collective."""

from twin_base import Pipeline, Transformer, post_process  # noqa: F401
from vllm.distributed import get_tensor_model_parallel_rank

_forward = Transformer.forward


def forward(self, *args, **kwargs):
    if get_tensor_model_parallel_rank() == 1:
        raise RuntimeError("a mistake on rank 1")
    return _forward(self, *args, **kwargs)


forward.__wrapped__ = _forward
Transformer.forward = forward
