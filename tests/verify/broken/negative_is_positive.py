"""The negative branch of the guidance is given the positive prompt."""

from twin_base import Pipeline, Transformer, post_process  # noqa: F401

_predict = Pipeline.predict_noise_maybe_with_cfg


def predict(self, do_true_cfg, true_cfg_scale, positive_kwargs, negative_kwargs, *args, **kwargs):
    return _predict(
        self, do_true_cfg, true_cfg_scale, positive_kwargs, negative_kwargs and positive_kwargs, *args, **kwargs
    )


Pipeline.predict_noise_maybe_with_cfg = predict
