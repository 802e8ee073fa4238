"""Room: which path of the guide a model takes, and why."""

from omniport.classify.classify import classify

__all__ = ["classify"]
