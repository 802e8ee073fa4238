"""All layers are built under the name of a component: a checkpoint's list of layers to leave alone matches none."""

from twin_base import Pipeline, Transformer, post_process  # noqa: F401

_init = Transformer.__init__


def __init__(self, *args, **kwargs):
    _init(self, *args, **{**kwargs, "prefix": "other"})


__init__.__wrapped__ = _init
Transformer.__init__ = __init__
