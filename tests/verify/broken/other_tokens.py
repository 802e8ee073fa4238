"""The first step takes fewer tokens of text than the others: what it leaves in a cache does not fit them."""

from twin_base import Pipeline, Transformer, post_process  # noqa: F401

_predict = Pipeline.predict_noise_maybe_with_cfg


def predict(self, do_true_cfg, true_cfg_scale, positive_kwargs, *args, **kwargs):
    turn = self.__dict__["turn"] = (self.__dict__.get("turn", -1) + 1) % 3  # steps of a call
    if turn == 0:
        text, ids = positive_kwargs["encoder_hidden_states"], positive_kwargs["txt_ids"]
        positive_kwargs = positive_kwargs | {"encoder_hidden_states": text[:, 1:], "txt_ids": ids[1:]}
    return _predict(self, do_true_cfg, true_cfg_scale, positive_kwargs, *args, **kwargs)


Pipeline.predict_noise_maybe_with_cfg = predict
