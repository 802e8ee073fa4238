"""The pipeline runs the stack of an encoder that it declares, not the encoder: offload cannot see it."""

from twin_base import Pipeline, Transformer, post_process  # noqa: F401

encode = Pipeline._get_t5_prompt_embeds


def encode_by_the_stack(self, *args, **kwargs):
    whole = self.text_encoder_2
    self.text_encoder_2 = whole.encoder
    try:
        return encode(self, *args, **kwargs)
    finally:
        self.text_encoder_2 = whole


Pipeline._get_t5_prompt_embeds = encode_by_the_stack
