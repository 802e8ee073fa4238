"""Proofs of pipelines kept between runs: one is used again while nothing that it depends on has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omniport.corpus.results import StageResult

HARNESS = (
    "corpus/pipeline_public.py",
    "corpus/pipeline_runner.py",
    "corpus/pipeline_stages.py",
    "verify/calls.py",
    "verify/checkpoint.py",
    "verify/components/build.py",
    "verify/components/others.py",
    "verify/components/tokens.py",
    "verify/engine.py",
    "verify/loading.py",
    "verify/repairs.py",
    "verify/requests.py",
    "verify/stand_ins.py",
    "verify/trace.py",
)
"""What every proof depends on, below the package: the code that makes and judges it."""


class Proofs:
    """Stages of pipelines in a folder, one file each, under a digest of all that they depend on.

    Args:
        folder: where they are kept; made if it is not there.
        versions: of the packages that take part.
    """

    def __init__(self, folder: Path, versions: Mapping[str, str]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        package = Path(__file__).resolve().parents[1]
        base = hashlib.sha256(json.dumps(dict(versions), sort_keys=True).encode())
        for name in HARNESS:
            base.update((package / name).read_bytes())
        self._base = base

    def digest(self, job: Mapping[str, Any], port: Path) -> str:
        """Of the harness, the job, the port's files and what the tables say about its components."""
        total = self._base.copy()
        total.update(
            json.dumps([dict(job), known(str(job["recipe"]), job["entries"])], sort_keys=True, default=repr).encode()
        )
        for file in sorted(port.glob("*.py")):
            total.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
        return total.hexdigest()

    def find(self, name: str, digest: str) -> list[StageResult] | None:
        """The stages of a pipeline, if they were proved under this digest."""
        file = self.folder / f"{name}.json"
        if not file.is_file():
            return None
        data = json.loads(file.read_text("utf-8"))
        return [StageResult(**stage) for stage in data["stages"]] if data["digest"] == digest else None

    def keep(self, name: str, digest: str, stages: list[StageResult]) -> None:
        """Keep the stages of a pipeline."""
        part = self.folder / f"{name}.part"
        part.write_text(json.dumps({"digest": digest, "stages": [asdict(s) for s in stages]}), "utf-8")
        part.replace(self.folder / f"{name}.json")


def known(name: str, entries: Mapping[str, Any]) -> list[Any]:
    """The recipe of a pipeline and the tables' entries of its components' classes."""
    from omniport.verify.components.denoisers import DENOISERS
    from omniport.verify.components.encoders import ENCODERS, TOKENIZERS
    from omniport.verify.components.vaes import VAES
    from omniport.verify.defaults import SIZES
    from omniport.verify.pipelines import RECIPES

    classes = [entry[1] for entry in entries.values() if entry is not None]
    tables = [{c: table.get(c) for c in classes} for table in (DENOISERS, ENCODERS, TOKENIZERS, VAES)]
    return [repr(RECIPES.get(name)), tables, SIZES, [_entry(c) for c in classes]]


def _entry(class_name: str) -> str:
    from omniport.verify.classes import ENTRIES

    return repr(ENTRIES.get(class_name))
