"""Inputs of an encoder go to the device of its weights, which is another while they are offloaded."""

from twin_base import Pipeline, Transformer, post_process  # noqa: F401

encode = Pipeline._get_t5_prompt_embeds


def encode_there(self, *args, **kwargs):
    own, self.device = self.device, self.text_encoder_2.device
    try:
        return encode(self, *args, **kwargs)
    finally:
        self.device = own


Pipeline._get_t5_prompt_embeds = encode_there
