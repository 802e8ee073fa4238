"""Room: the model. MODEL in its three forms, its index, configurations and safetensors headers; never its code."""

from omniport.hub.index import Component, ModelIndex
from omniport.hub.repo import Repo, open_model
from omniport.hub.safetensors import TensorInfo

__all__ = ["Component", "ModelIndex", "Repo", "TensorInfo", "open_model"]
