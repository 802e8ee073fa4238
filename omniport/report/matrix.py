"""What each port declares, what is validated, and where the docs say something else: ``omniport matrix``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from omniport.check.declared import FEATURES, FROM_OUTSIDE, declared
from omniport.check.docs_tables import rows_of
from omniport.check.port import Port, find_ports, parse_port, read_files
from omniport.check.tree import FEATURES_PAGE, shown
from omniport.records import dataclass
from omniport.report.evidence import read_evidence

#: feature -> the feature of ``verify`` that proves it; of quantization it proves the names alone
PROOFS = {
    "cache-dit": "cache",
    "sequence-parallel": "sp2",
    "cfg-parallel": "cfg2",
    "tensor-parallel": "tp2",
    "hsdp": "hsdp2",
    "layerwise-offload": "layerwise",
}
_TITLES = {
    "cache-dit": "cache",
    "sequence-parallel": "SP",
    "cfg-parallel": "CFG",
    "tensor-parallel": "TP",
    "hsdp": "HSDP",
    "layerwise-offload": "offload",
    "quantization": "quant",
    "step-execution": "steps",
}


@dataclass(frozen=True)
class PortRow:
    """A port's features: those it declares, the states that evidence for its present source gives, and the docs' row.

    ``parity`` is the state of the comparison with the reference; ``disagreements`` are ``path:line: text``.
    """

    port: str
    declared: tuple[str, ...]
    states: dict[str, str]
    parity: str
    disagreements: tuple[str, ...]

    def cell(self, feature: str) -> str:
        """What is proven of a declared feature; ``declared`` where nothing is, ``-`` where it is not declared."""
        return self.states.get(feature, "declared") if feature in self.declared else "-"


def matrix(path: Path) -> Iterator[PortRow]:
    """One row per port below ``path``, in the order of the folders.

    Raises:
        OmniportError: nothing there is a port, or a file of evidence cannot be read.
    """
    for name, sources in find_ports(path):
        port, _ = parse_port(name, read_files(sources))
        features = declared(port)
        proven = _proven(sources)
        yield PortRow(
            port=name,
            declared=tuple(feature for feature in FEATURES if feature in features),
            states={feature: proven[proof] for feature, proof in PROOFS.items() if proof in proven},
            parity=proven.get("parity", "not tested"),
            disagreements=tuple(_disagreements(port, features)),
        )


def render(rows: Iterable[PortRow]) -> str:
    """The table as plain text, and the disagreements with the docs below it."""
    rows = list(rows)
    lines = [["port", "parity", *(_TITLES[feature] for feature in FEATURES)]]
    lines += [[row.port, row.parity, *(row.cell(feature) for feature in FEATURES)] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = "".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines)
    disagreements = [place for row in rows for place in row.disagreements]
    counts = ", ".join(f"{_TITLES[f]} {sum(f in row.declared for row in rows)}" for f in FEATURES)
    text += f"\n{len(rows)} port(s) declare: {counts}\n"
    if disagreements:
        text += "The docs disagree:\n" + "".join(f"  {place}\n" for place in disagreements)
    return text


def to_json(rows: Iterable[PortRow]) -> str:
    """The rows as JSON text, ending in a newline."""
    return json.dumps({"schema": 1, "ports": [asdict(row) for row in rows]}, indent=2) + "\n"


def _proven(sources: list[Path]) -> dict[str, str]:
    """The state of each feature of ``verify``, where the evidence is of the port's very source."""
    from omniport.verify.port import MANIFESTS, find_port

    files = {source.resolve() for source in sources}
    for folder in list(sources[0].resolve().parents)[:6]:
        for manifest in sorted((folder / MANIFESTS).glob("*.json")):
            if "." in manifest.stem or manifest.stem == "journal":
                continue
            port = find_port(folder, manifest.stem)
            if not files.isdisjoint(path.resolve() for path in port.sources()):
                results, digest = read_evidence(port.evidence_path), port.digest()
                return {name: result.state for name, result in results.items() if result.digest == digest}
    return {}


def _disagreements(port: Port, features: frozenset[str]) -> Iterator[str]:
    """What the docs tick and the port does not declare, and the other way round."""
    for row in rows_of(port):
        ticked = row.claims()
        place = f"{shown(port.tree.root / FEATURES_PAGE).as_posix()}:{row.line}" if port.tree is not None else ""
        for feature, cell in row.cells.items():
            if feature in ticked and feature not in features | FROM_OUTSIDE:
                yield f"{place}: {port.name}: {FEATURES[feature]} is ticked, and nowhere declared"
            elif feature not in ticked and feature in features:
                yield f"{place}: {port.name}: {FEATURES[feature]} is declared, and the docs say {cell or 'nothing'}"
