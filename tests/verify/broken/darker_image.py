"""The latents are right, the decoded image is not: one percent too dark."""

from twin_base import Pipeline, Transformer, post_process  # noqa: F401

_forward = Pipeline.forward


def forward(self, req, *args, **kwargs):
    outputs = _forward(self, req, *args, **kwargs)
    if req.sampling_params_list[0].output_type != "latent":
        for output in outputs if isinstance(outputs, list) else [outputs]:
            output.output = output.output - 0.02
    return outputs


Pipeline.forward = forward
