"""Each rank computes both branches of the guidance: the result is right, and nothing is gained."""

from twin_base import Pipeline, Transformer, post_process  # noqa: F401

_predict = Pipeline.predict_noise_maybe_with_cfg


def predict(self, do_true_cfg, true_cfg_scale, positive_kwargs, negative_kwargs, *args, **kwargs):
    if not do_true_cfg:
        return _predict(self, do_true_cfg, true_cfg_scale, positive_kwargs, negative_kwargs, *args, **kwargs)
    positive = self.predict_noise(**positive_kwargs)
    negative = self.predict_noise(**negative_kwargs)
    return self.combine_cfg_noise(positive, negative, true_cfg_scale)


Pipeline.predict_noise_maybe_with_cfg = predict
