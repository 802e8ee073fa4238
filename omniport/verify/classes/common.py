"""Inputs that several classes take alike, as expressions."""

from __future__ import annotations

# Latents [batch, frames, channels, rows, columns] of models whose patches are 2 by 2.
FRAMES_FIRST = "normal(batch, frames, in_channels, rows * 2, columns * 2)"

# Latents [batch, channels, frames, rows, columns] of models that embed frame by frame.
FRAMES_FOLDED = "normal(batch, in_channels, frames, rows * 2, columns * 2)"

# Latents [batch, tokens of all frames, channels].
VIDEO_TOKENS = "normal(batch, frames * rows * columns, in_channels)"
