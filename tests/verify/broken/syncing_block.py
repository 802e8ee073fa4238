"""A block reads a number off the device: compilation stops in the middle of it."""

from twin_base import Pipeline, Transformer, post_process  # noqa: F401

_init = Transformer.__init__


def __init__(self, *args, **kwargs):
    _init(self, *args, **kwargs)
    block = type(self.transformer_blocks[0])
    if not hasattr(block, "sound_forward"):
        block.sound_forward = block.forward

        def forward(self, hidden_states, *args, **kwargs):
            if hidden_states.abs().sum().item() < 0:
                return None
            return self.sound_forward(hidden_states, *args, **kwargs)

        block.forward = forward


__init__.__wrapped__ = _init
Transformer.__init__ = __init__
