"""A request that leaves the guidance out gets 1.0, not the reference's own default."""

from twin_base import Pipeline, Transformer, post_process  # noqa: F401

_forward = Pipeline.forward


def forward(self, req, *args, **kwargs):
    for sampling in req.sampling_params_list:
        if not sampling.guidance_scale_provided:
            sampling.guidance_scale, sampling.guidance_scale_provided = 1.0, True
    return _forward(self, req, *args, **kwargs)


Pipeline.forward = forward
