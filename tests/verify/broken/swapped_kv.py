"""Keys and values of the first attention are loaded into each other's place."""

from twin_base import Pipeline, Transformer, post_process  # noqa: F401

_load = Transformer.load_weights


def load_weights(self, weights):
    def swapped():
        for name, tensor in weights:
            head, dot, tail = name.partition(".attn.to_k.")
            other_head, other_dot, other_tail = name.partition(".attn.to_v.")
            if dot:
                name = f"{head}.attn.to_v.{tail}"
            elif other_dot:
                name = f"{other_head}.attn.to_k.{other_tail}"
            yield name, tensor

    return _load(self, swapped())


Transformer.load_weights = load_weights
