"""Loading the reference's pipeline from a checkpoint, by its own loader wherever that can."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn


def load_reference(cls: Any, folder: Path) -> tuple[Any, str]:
    """The pipeline ``cls`` of a saved checkpoint in fp32, and what of it diffusers' own loader does not find.

    A retired pipeline has model classes of its own, which its index says diffusers exports, and diffusers does not:
    ``from_pretrained`` of such a pipeline ends with an AttributeError.  Each component is then loaded by its own class,
    and the pipeline made of them.
    """
    entries = {
        name: entry
        for name, entry in json.loads((folder / "model_index.json").read_text("utf-8")).items()
        if isinstance(entry, list) and len(entry) == 2
    }
    own = sorted(c for library, c in entries.values() if library == "diffusers" and _exported(library, c) is None)
    if not own or any(not hasattr(sys.modules[cls.__module__], name) for name in own):
        return cls.from_pretrained(folder, torch_dtype=torch.float32), ""
    parts: dict[str, Any] = dict.fromkeys(entries)
    for name, (library, class_name) in entries.items():
        if library is None:
            continue
        found = _exported(library, class_name) or getattr(sys.modules[cls.__module__], class_name)
        dtype = {"torch_dtype": torch.float32} if issubclass(found, nn.Module) else {}
        part = found.from_pretrained(folder / name, **dtype)
        parts[name] = part.eval() if isinstance(part, nn.Module) else part
    return cls(**parts), f"diffusers exports no {', '.join(own)}: loaded by component"


def _exported(library: str, class_name: str) -> Any:
    """The class that a library exports, None where it exports none of that name."""
    return getattr(importlib.import_module(library), class_name, None)
