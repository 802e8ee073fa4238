"""A port for an older vLLM-Omni.

Ports are made in the form of the newest known generation.  For each thing that a tree lacks one module here takes the
port back to what the tree has; where that costs a feature, a note says so.  What is left over and does not exist in
the tree is found by :mod:`omniport.target.members`.
"""

from omniport.rewrite.generation.back import older_pipeline, older_plan, older_transformer

__all__ = ["older_pipeline", "older_plan", "older_transformer"]
