"""The evidence file of a port: ``.omniport/<name>.evidence.json``, beside the manifest and never part of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omniport.errors import OmniportError
from omniport.report.files import write_whole
from omniport.strict_json import read_record
from omniport.verify.results import FeatureResult

SCHEMA = 1
_SIZE = 16 << 20  # bytes


def read_evidence(path: Path) -> dict[str, FeatureResult]:
    """The results kept at ``path``, by feature; empty if there is no such file.

    Raises:
        OmniportError: the file is there but cannot be read.
    """
    if not path.is_file():
        return {}
    try:
        data = read_record(path, limit=_SIZE, infinity=True)
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']}, expected {SCHEMA}")
        return {name: FeatureResult.from_data(entry) for name, entry in data["features"].items()}
    except (OmniportError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OmniportError(f"{path} cannot be read as evidence ({error}); delete it and verify again") from error


def write_evidence(path: Path, name: str, results: Iterable[FeatureResult]) -> None:
    """Add ``results`` to the evidence at ``path``, atomically.

    Results of other features stay only if they were measured on the same source (equal ``digest``): what was proven
    of other source is proven of nothing that is still there.

    Raises:
        OmniportError: the file cannot be written.
    """
    new = {r.feature: r for r in results}
    digests = {r.digest for r in new.values()}
    kept = {k: r for k, r in read_evidence(path).items() if r.digest in digests}
    merged = {**kept, **new}
    data: dict[str, Any] = {
        "schema": SCHEMA,
        "name": name,
        "features": {feature: merged[feature].to_data() for feature in sorted(merged)},
    }
    write_whole(path, json.dumps(data, indent=1, sort_keys=True) + "\n")
