"""Every feature of every pipeline's port, as ``omniport verify`` finds it; written to a page with the reasons.

Each pipeline is ported into a package of its own and verified in a process of its own, at most two at a time.  What was
found is kept, and used again while the port, the verifier and the packages that take part are the same: a run that was
stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from omniport import progress
from omniport.corpus.pipelines import corpus_pipelines
from omniport.corpus.verified_page import page, totals
from omniport.corpus.verified_results import Found, Verified
from omniport.errors import OmniportError
from omniport.source.tree import SourceTree
from omniport.verify.api import installed_versions, missing_packages
from omniport.verify.features import FEATURES
from omniport.verify.port import find_port

WORKERS = 2
LIMIT = 1800.0  # seconds for all features of one pipeline


def run(
    folder: Path,
    *,
    only: Sequence[str] = (),
    features: Sequence[str] = FEATURES,
    workers: int = WORKERS,
    on_pipeline: Callable[[Verified], None] | None = None,
) -> list[Verified]:
    """Verify the pipelines; ports and results are kept in ``folder``.

    Args:
        folder: made if it is not there.
        only: class names; all if empty.
        features: which to prove.
        workers: how many pipelines at a time.
        on_pipeline: called with each that is done.

    Raises:
        OmniportError: an unknown class or feature, or a package of the verify environment is missing.
    """
    if missing := missing_packages():
        raise OmniportError(f"verifying needs packages that are not installed: {'; '.join(missing)}")
    if unknown := sorted(set(features) - set(FEATURES)):
        raise OmniportError(f"unknown feature {', '.join(unknown)}; choose from {', '.join(FEATURES)}")
    names = [name for name in corpus_pipelines(SourceTree.locate(None)) if " " not in name]
    if unknown := sorted(set(only) - set(names)):
        raise OmniportError(f"no pipeline with a transformer of that name: {', '.join(unknown)}")
    chosen = [name for name in names if not only or name in only]
    for part in ("ports", "results"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    base = _harness(features)

    def one(name: str) -> Verified:
        found = _one(name, folder, features, base)
        if on_pipeline is not None:
            on_pipeline(found)
        return found

    with ThreadPoolExecutor(max(1, min(workers, WORKERS))) as pool:
        return list(pool.map(one, chosen))


def _harness(features: Iterable[str]) -> bytes:
    """Digest of all that a result depends on but the port: features, packages, and the verifier's own source."""
    total = hashlib.sha256(json.dumps([sorted(features), installed_versions()], sort_keys=True).encode())
    package = Path(__file__).resolve().parents[1] / "verify"
    for file in sorted(package.rglob("*.py")):
        total.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return total.digest()


def _one(name: str, folder: Path, features: Sequence[str], base: bytes) -> Verified:
    port, kept = folder / "ports" / name, folder / "results" / f"{name}.json"
    shutil.rmtree(port, ignore_errors=True)
    made = _omniport(["scaffold", f"diffusers:{name}", "--plugin", str(port), "--quiet"])
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    if made.returncode:
        return Verified(name, "", now, _message(made))
    digest = hashlib.sha256(base + find_port(port).digest().encode()).hexdigest()
    if (before := _kept(kept)) is not None and before.digest == digest:
        return before
    ran = _omniport(["verify", str(port), "--json", "--quiet", "--feature", ",".join(features)])
    try:
        rows = json.loads(ran.stdout)["features"]
    except (ValueError, KeyError):
        return Verified(name, "", now, missed=_message(ran))  # the machine failed: nothing to keep
    keys = ("feature", "state", "reason", "figure", "declared")
    found = Verified(name, digest, now, features=tuple(Found(**{key: row[key] for key in keys}) for row in rows))
    if not any(row["machine_failed"] for row in rows):
        part = kept.with_suffix(".part")
        part.write_text(json.dumps(asdict(found)), "utf-8")
        part.replace(kept)
    return found


def _kept(file: Path) -> Verified | None:
    if not file.is_file():
        return None
    data = json.loads(file.read_text("utf-8"))
    return Verified(**{**data, "features": tuple(Found(**found) for found in data["features"])})


def _omniport(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "omniport", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 2, "", f"no answer for {LIMIT:.0f} s")


def _message(ran: subprocess.CompletedProcess[str]) -> str:
    said = " ".join((ran.stderr.strip() or ran.stdout.strip()).split())
    return said.removeprefix("error: ")[:400] or f"it ended with {ran.returncode} and no word"


def main() -> int:
    """Verify every pipeline; 0 if no port claims what does not work, 1 if one does, 2 if one could not be verified."""
    parser = argparse.ArgumentParser(prog="python -m omniport.corpus.verified", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path(".corpus/verified"), help="where ports and results are kept"
    )
    parser.add_argument("--only", action="append", default=[], metavar="CLASS", help="this class only; may be repeated")
    parser.add_argument("--feature", action="append", default=[], help="this feature only; may be repeated")
    parser.add_argument("--workers", type=int, choices=range(1, WORKERS + 1), default=WORKERS)
    parser.add_argument("--markdown", type=Path, help="write the page")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    options = parser.parse_args()
    try:
        with progress.shown(quiet=options.quiet) as shown:
            found = run(
                options.folder,
                only=options.only,
                features=options.feature or FEATURES,
                workers=options.workers,
                on_pipeline=lambda one: shown.step(_line(one)),
            )
    except OmniportError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if options.markdown:
        options.markdown.write_text(page(found, installed_versions()), "utf-8")
    print("\n".join([*totals(found), *(line for one in found for line in _complaints(one))]))
    if any(row.wrong for one in found for row in one.features):
        return 1
    return OmniportError.exit_code if any(one.missed for one in found) else 0


def _complaints(one: Verified) -> list[str]:
    """What is wrong with a pipeline, in lines."""
    lines = [f"{one.name}: {what}: {why}" for what, why in (("no port", one.refused), ("missed", one.missed)) if why]
    return lines + [f"{one.name}: {row.feature}: {row.reason}" for row in one.features if row.wrong]


def _line(one: Verified) -> str:
    if one.refused:
        return f"{one.name}: no port"
    if one.missed:
        return f"{one.name}: could not be verified"
    less = [f"{row.feature} {row.state}" for row in one.features if row.state != "validated"]
    return f"{one.name}: {', '.join(less) or 'all validated'}"


if __name__ == "__main__":
    sys.exit(main())
