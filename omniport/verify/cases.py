"""Sizes and names that the comparisons share: of a transformer's calls alone, and of a pipeline's requests."""

from __future__ import annotations

# The calls of the transformer alone.  The second has one sample and odd lengths: what only fits even splits or pairs of
# samples fails there.  Videos have three such frames, two in the second.
EVEN, ODD = "2 samples, 4 by 6 tokens", "1 sample, 3 by 5 tokens"

SEED = 42
HEIGHT, WIDTH = 64, 96  # not square: swapped axes show.  24 image tokens for a VAE of factor 8 with 2x2 patches.

BASE = "base"
"""The request with every argument given, guidance on (:func:`omniport.verify.calls.calls_for`)."""

RENAMED = {"num_images_per_prompt": "num_outputs_per_prompt", "num_videos_per_prompt": "num_outputs_per_prompt"}
