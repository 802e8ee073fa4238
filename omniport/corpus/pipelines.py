"""The pipeline corpus: every diffusers pipeline with a transformer, planned and written into a fresh tree.

Imports neither torch nor diffusers: the sources are read as text.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from omniport import progress
from omniport.corpus.ending import conclude, options_of_a_run
from omniport.corpus.pipeline_run import STAGES as PROOF
from omniport.corpus.pipeline_run import needs_worker, verify_pipelines
from omniport.corpus.pipeline_table import pipeline_table, summary, to_markdown
from omniport.corpus.pipeline_write import STAGES, Written, finish, write_all
from omniport.corpus.produce import fresh_tree
from omniport.corpus.proofs import Proofs
from omniport.corpus.results import ClassResult, CorpusReport, StageResult, beside_the_reference, completed
from omniport.corpus.run import WORKERS
from omniport.errors import OmniportError
from omniport.hub.synthetic import constructor, find_pipeline, pipeline_names
from omniport.source.tree import SourceTree
from omniport.verify.api import installed_versions, missing_packages
from omniport.verify.pipelines import RECIPES


def corpus_pipelines(tree: SourceTree) -> dict[str, str]:
    """Class name -> file below the package, of every pipeline whose constructor takes a transformer.

    Published forms that have a recipe of their own come besides, under the class's name, a space and their own.
    """
    found: dict[str, str] = {}
    for name in pipeline_names(tree):
        try:
            module = find_pipeline(name, tree)
            parameters = constructor(tree, module, name)[1]
        except OmniportError:
            continue  # a class of that name that no module of pipelines/ defines at its top
        if any(p.name.startswith("transformer") for p in parameters):
            found[name] = module.file.split("/", 1)[1]
    forms = {form: found[name] for form in RECIPES if " " in form and (name := form.split()[0]) in found}
    return dict(sorted({**found, **forms}.items()))


def run_pipelines(
    tree: Path,
    *,
    source: Path | None = None,
    only: tuple[str, ...] = (),
    prove: bool = False,
    proofs: Path | None = None,
    kept: bool = False,
    on_pipeline: Callable[[str], None] | None = None,
) -> tuple[CorpusReport, dict[str, Written]]:
    """Plan every pipeline and write it into the fresh tree ``tree``: ruff and ``omniport check`` clean, imports found.

    Args:
        tree: folder that is written anew with a copy of the installed vllm_omni.
        source: another diffusers than the installed one.
        only: class names; all if empty.
        prove: whether to run the ports in vLLM-Omni's worker beside diffusers, too.
        proofs: folder of the proofs of earlier runs; those that still hold are not made again.
        kept: whether to take those alone and run nothing.
        on_pipeline: called with the name of each pipeline that was proved.

    Raises:
        OmniportError: an unknown class, no vllm_omni to copy, ``tree`` holds something else, or a package of the
            verify environment is missing.
    """
    started = time.monotonic()
    found = SourceTree.locate(source)
    classes = corpus_pipelines(found)
    if unknown := sorted(set(only) - classes.keys()):
        raise OmniportError(f"no pipeline with a transformer of that name in {found.root}: {', '.join(unknown)}")
    classes = {name: file for name, file in classes.items() if not only or name in only}
    package = importlib.util.find_spec("vllm_omni")
    if package is None or not package.submodule_search_locations:
        raise OmniportError("the pipeline corpus needs vllm_omni, which is not installed")
    fresh_tree(Path(package.submodule_search_locations[0]), tree)
    if prove and (missing := missing_packages()):
        raise OmniportError(f"proving pipelines needs packages that are not installed: {'; '.join(missing)}")
    written = write_all(source, classes, WORKERS)
    results = finish(tree, written)
    stages: tuple[str, ...] = STAGES
    versions = {"diffusers": found.version}
    heavy: dict[str, list[StageResult]] = {}
    if prove:
        stages = (*STAGES, *PROOF)
        versions |= installed_versions()
        heavy = verify_pipelines(
            tree,
            written,
            source=source,
            on_pipeline=on_pipeline,
            keep=tree.parent / f"{tree.name}.logs",
            proofs=Proofs(proofs, versions) if proofs is not None else None,
            kept=kept,
        )
    stages_of = {n: beside_the_reference([*results[n], *heavy.get(n, [])]) for n in classes}
    report = CorpusReport(
        tuple(
            ClassResult(n, f, completed(stages_of[n], stages, _undispatched(written[n]))) for n, f in classes.items()
        ),
        stages,
        versions,
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
        round(time.monotonic() - started, 1),
    )
    return report, written


def _undispatched(written: Written) -> dict[str, str]:
    """``cfg2`` with the reason, where the plan gives no branches to ranks; ``omni`` where only a worker can run it."""
    found = {}
    if needs := needs_worker(written.name):
        found["omni"] = f"{needs}: done in the worker"
    if written.plan is not None and not written.plan.dispatched:
        why = next((d.why.reason for d in written.plan.decisions if d.subject == "guidance"), "")
        found["cfg2"] = f"guidance {written.plan.cfg}{f': {why}' if why else ''}"
    return found


def main() -> int:
    """Run the pipeline corpus; 0 if every pipeline passes, 1 if not, 2 if it cannot be run."""
    parser = options_of_a_run("python -m omniport.corpus.pipelines", __doc__, Path(".corpus/pipelines"))
    parser.add_argument("--verify", action="store_true", help="run the ports beside diffusers, too")
    parser.add_argument("--proofs", type=Path, help="folder of proofs; those that still hold are not made again")
    parser.add_argument("--kept", action="store_true", help="with --proofs: take those that hold, run nothing")
    options = parser.parse_args()
    try:
        with progress.shown(quiet=options.quiet) as shown:
            report, written = run_pipelines(
                options.tree,
                source=options.source,
                only=tuple(options.only),
                prove=options.verify,
                proofs=options.proofs,
                kept=options.kept,
                on_pipeline=lambda name: shown.step(f"{name} verified"),
            )
    except OmniportError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return conclude(options, report, written.values(), table=pipeline_table, summary=summary, markdown=to_markdown)


if __name__ == "__main__":
    sys.exit(main())
