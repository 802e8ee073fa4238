"""What ``omniport check`` does with its options."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from omniport.check import engine
from omniport.check.cache import FindingCache, cache_folder
from omniport.check.config import find_settings
from omniport.errors import OmniportError
from omniport.records import dataclass
from omniport.report import findings


@dataclass(frozen=True)
class Options:
    """The options of the command; ``base`` is the revision to compare with for ``--changed-only``."""

    paths: tuple[Path, ...]
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    output_format: str = "text"
    statistics: bool = False
    fix: bool = False
    diff: bool = False
    base: str | None = None
    cached: bool = True


def run(options: Options, out: TextIO, err: TextIO) -> bool:
    """Check, print, and mend if asked to; whether nothing is left that blocks.

    Raises:
        OmniportError: options that do not go together, or anything that ``check`` refuses.
    """
    if options.output_format not in findings.FORMATS:
        raise OmniportError(f"--output-format {options.output_format!r}: choose {', '.join(findings.FORMATS)}")
    if options.fix and options.diff:
        raise OmniportError("--fix changes files and --diff only shows the change: choose one")
    report = _check(options)
    if options.fix or options.diff:
        from omniport.check import fix

        texts = fix.fixed_texts(report.findings)
        if options.diff:
            out.write(fix.unified_diff(texts))
            return not texts
        if texts:
            err.write(f"mended {fix.write(texts)} finding(s) in {len(texts)} file(s)\n")
            report = _check(options)
    if options.statistics:
        findings.write_statistics(report, out)
    else:
        findings.FORMATS[options.output_format](report, out)
    return not report.blocking


def _check(options: Options) -> engine.Report:
    settings = find_settings(options.paths[0])
    changed = None
    if options.base is not None:
        from omniport.check.changed import changed_files

        changed = {file for path in options.paths for file in changed_files(path, options.base)}
    return engine.check(
        options.paths,
        select=options.select or settings.select,
        ignore=options.ignore or settings.ignore,
        per_file_ignores=settings.per_file_ignores,
        changed=changed,
        cache=FindingCache(cache_folder()) if options.cached else None,
    )
