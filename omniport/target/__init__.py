"""The vLLM-Omni tree a port is written into: probing, registry edits, import resolution, manifest, atomic writes."""
