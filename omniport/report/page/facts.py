"""What a report says of a port: its manifest and the evidence of its present source, and nothing beyond."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator

from omniport.errors import OmniportError
from omniport.plan.model import Decision, PortPlan
from omniport.records import dataclass
from omniport.report.evidence import read_evidence
from omniport.report.page.todos import left
from omniport.target.manifest import Manifest, load
from omniport.verify.features import FEATURES
from omniport.verify.port import Port
from omniport.verify.results import BlockError, FeatureResult, ModuleNode, VerifyReport

#: what a feature of ``verify`` proves, for the reader
MEANING = {
    "import": "vLLM-Omni's registry resolves the port",
    "load": "every checkpoint tensor is used once, every parameter filled once",
    "parity": "the transformer gives the reference's outputs",
    "flash": "the same with FlashAttention, the default backend of GPUs",
    "tp2": "tensor parallelism on two ranks",
    "tp4": "tensor parallelism on four ranks",
    "sp2": "Ulysses sequence parallelism on two ranks",
    "ring2": "ring sequence parallelism on two ranks",
    "cfg2": "the branches of guidance on two ranks",
    "pp2": "the blocks shared by two stages of a pipeline",
    "hsdp2": "sharded parameters on two ranks",
    "layerwise": "blocks streamed from host memory",
    "offload": "components moved to the device as they are used",
    "compile": "blocks compile without a graph break",
    "cache": "cache-dit runs the blocks",
    "lora": "adapters act on the linears",
    "quant": "quantisation is asked for each linear",
    "e2e": "the pipeline gives the reference's latents and image",
}
SHARDED = ("column", "row", "qkv", "merged", "gathered", "scattered")


@dataclass(frozen=True)
class PortReport:
    """Everything that the pages show.

    ``results`` are those of the port's present source by feature; ``blocks`` the errors of the blocks by run
    ("parity, 24 tokens"); ``scaffold`` and ``verify`` are command lines; ``todos`` are those that stand in its source.
    """

    manifest: Manifest
    plan: PortPlan
    results: dict[str, FeatureResult]
    tree: ModuleNode | None
    notes: tuple[str, ...]
    scaffold: str
    verify: str
    todos: tuple[Decision, ...]

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the last run, and of what the port was written with."""
        newest = max(self.results.values(), key=lambda r: r.date, default=None)
        return {**(newest.versions if newest else {}), "omniport (scaffold)": self.manifest.omniport}

    def states(self) -> Counter[str]:
        """How many features are in each state."""
        return Counter(self.results[f].state if f in self.results else "not tested" for f in FEATURES)

    def blocks(self) -> dict[str, list[BlockError]]:
        """Errors of the blocks by run and call."""
        found: dict[str, list[BlockError]] = {}
        for feature in FEATURES:
            for row in self.results[feature].blocks if feature in self.results else ():
                found.setdefault(f"{feature}, {row.call}", []).append(row)
        return found

    def elements(self) -> Counter[str]:
        """Parameters of the published transformer by the role of the layer that holds them."""
        found: Counter[str] = Counter()
        for kind, number in _elements(self.tree, 1) if self.tree else ():
            found["sharded" if kind in SHARDED else "whole on every rank"] += number
        return found


def collect(port: Port, report: VerifyReport, verify: str) -> PortReport:
    """Read the manifest and the evidence of a port that was just verified.

    Raises:
        OmniportError: the manifest is damaged, or another version of omniport wrote it.
    """
    manifest = load(port.manifest_path)
    try:
        plan = manifest.port_plan()
    except ValueError as error:
        raise OmniportError(
            f"{port.manifest_path}: its plan is of another omniport ({error}); scaffold the port again"
        ) from None
    digest = port.digest()
    kept = {name: r for name, r in read_evidence(port.evidence_path).items() if r.digest == digest}
    return PortReport(
        manifest=manifest,
        plan=plan,
        results={name: kept[name] for name in FEATURES if name in kept},
        tree=report.tree,
        notes=report.notes,
        scaffold=_scaffold(manifest, port.kind),
        verify=verify,
        todos=left(port, plan),
    )


def _scaffold(manifest: Manifest, kind: str) -> str:
    inputs = manifest.inputs
    words = ["omniport", "scaffold", str(inputs.get("model", ""))]
    if inputs.get("revision"):
        words += ["--revision", str(inputs["revision"])]
    options = inputs.get("options")
    name = options.get("name") if isinstance(options, dict) else None
    words += ["--name", str(name)] if name else []
    return shlex.join(words) + (" --plugin DIR" if kind == "plugin" else " --into TREE")


def _elements(node: ModuleNode, times: int) -> Iterator[tuple[str, int]]:
    """Role and number of elements of each module's own parameters."""
    times *= node.count
    own = node.parameters - sum(child.parameters * child.count for child in node.children)
    yield node.kind, own * times
    for child in node.children:
        yield from _elements(child, times)
