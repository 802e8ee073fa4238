"""The pipeline names no encoder: there is nothing that the transformer could be swapped with."""

from twin_base import Pipeline, Transformer, post_process  # noqa: F401

Pipeline._encoder_modules = []
