"""What is proven of a port that was written before."""

from __future__ import annotations

from pathlib import Path

from omniport.target.paths import STATE


def proven_features(root: Path, name: str) -> dict[str, str]:
    """The state of each feature of ``verify``, where the evidence is of the port as it is on disk."""
    if not (root / STATE / f"{name}.evidence.json").is_file():
        return {}
    from omniport.report.evidence import read_evidence
    from omniport.verify.port import find_port

    port = find_port(root, name)
    digest = port.digest()
    return {k: r.state for k, r in read_evidence(port.evidence_path).items() if r.digest == digest}
