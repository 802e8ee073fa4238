"""The first step makes a forward too many and the second one too few: two in every step on average."""

from twin_base import Pipeline, Transformer, post_process  # noqa: F401

_predict = Pipeline.predict_noise_maybe_with_cfg


def predict(self, do_true_cfg, true_cfg_scale, positive_kwargs, *args, **kwargs):
    turn = self.__dict__["turn"] = (self.__dict__.get("turn", -1) + 1) % 3  # steps of a call
    if turn == 0:
        self.predict_noise(**positive_kwargs)
    return _predict(self, do_true_cfg and turn != 1, true_cfg_scale, positive_kwargs, *args, **kwargs)


Pipeline.predict_noise_maybe_with_cfg = predict
