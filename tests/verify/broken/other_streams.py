"""A later stage goes on with other streams than those that the one before it sends."""

from twin_base import Pipeline, Transformer, post_process  # noqa: F401

_forward = Transformer.forward


class Halved:
    """The streams that were sent, at half of their size."""

    def __init__(self, sent):
        self.sent = sent

    def __getitem__(self, name):
        return self.sent[name] * 0.5


def forward(self, *args, intermediate_tensors=None, **kwargs):
    sent = None if intermediate_tensors is None else Halved(intermediate_tensors)
    return _forward(self, *args, intermediate_tensors=sent, **kwargs)


forward.__wrapped__ = _forward
Transformer.forward = forward
