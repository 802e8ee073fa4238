"""Sequence parallelism: the statements of the forward that run on a share of the tokens, or why there are none."""
