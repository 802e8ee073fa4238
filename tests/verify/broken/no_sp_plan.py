"""No sequence-parallel plan: every rank computes the whole sequence, and the result is still right."""

from twin_base import Pipeline, Transformer, post_process  # noqa: F401

Transformer._sp_plan = None
