"""Hand-written ports of vLLM-Omni: where one stands beside a transformer of the corpus."""

from __future__ import annotations

import re
from pathlib import Path

from omniport.corpus.produce import MODELS


def hand_written(root: Path, name: str) -> str | None:
    """The module of ``root`` that defines the transformer class ``name`` by hand; None if there is none.

    Args:
        root: folder that holds the package ``vllm_omni``.
        name: of the class, which hand-written ports keep from their reference.
    """
    folder = root / MODELS
    found = re.compile(rf"^class {name}\(", re.MULTILINE)
    for path in sorted(folder.glob("[!c]*/*.py")) + sorted(folder.glob("c*/*.py")):
        if path.parent.name.startswith("corpus_") or name not in (text := path.read_text("utf-8")):
            continue
        if found.search(text):
            return ".".join(path.relative_to(root).with_suffix("").parts)
    return None
