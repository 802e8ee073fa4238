"""Proof of a port: the real vLLM-Omni on CPU against the reference, one forked process per check."""
