"""Every second block keeps all of its layers on every rank: right, and with half of the memory that it saves."""

import sys
from unittest.mock import patch

from twin_base import Pipeline, Transformer, post_process  # noqa: F401
from vllm.model_executor.layers import linear

_ALONE = {"get_tensor_model_parallel_world_size": lambda: 1, "get_tensor_model_parallel_rank": lambda: 0}


def whole(cls):
    inner = cls.__init__

    def init(self, *args, prefix="", **kwargs):
        if int(prefix.rpartition(".")[2]) % 2:
            with patch.multiple(linear, **_ALONE):
                inner(self, *args, prefix=prefix, **kwargs)
        else:
            inner(self, *args, prefix=prefix, **kwargs)

    init.__wrapped__ = inner
    cls.__init__ = init


for name in ("FluxTransformerBlock", "FluxSingleTransformerBlock"):
    whole(getattr(sys.modules[Transformer.__module__], name))
