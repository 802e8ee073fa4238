"""Omniport: port a diffusion model to vLLM-Omni with one command, and prove the port."""

__version__ = "0.1.0"
