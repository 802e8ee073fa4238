"""The command line: thin commands over the rooms, with everything heavy imported inside them."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from omniport import __version__
from omniport.errors import FindingsError, OmniportError
from omniport.examples import epilog
from omniport.options import (
    Backbone,
    Code,
    Diff,
    DryRun,
    Feature,
    Ignore,
    Into,
    Json,
    Media,
    Model,
    Name,
    Offline,
    Plugin,
    Port,
    Quiet,
    Revision,
    Select,
    Source,
    Weights,
    Which,
    separated,
)
from omniport.output import console, print_json, print_plan, show_error


class Commands(TyperGroup):
    """Turns what a command raises into an exit code; any other exception is a bug and shows its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except OmniportError as error:
            show_error(error)
            raise SystemExit(error.exit_code) from None
        except KeyboardInterrupt:
            raise SystemExit(130) from None


app = typer.Typer(
    name="omniport",
    cls=Commands,
    help="Port a Hugging Face diffusion model to vLLM-Omni, and prove the port.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich would double the start-up time
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


#: commands that hold many syntax trees, and nothing that the end of the interpreter would have to clean up
_ENDED_AT_ONCE = frozenset({"check", "scaffold", "plan"})


def main() -> None:
    """Entry point of the console script."""
    for name in ("SIGTERM", "SIGHUP"):  # a request to end takes its way through every clean-up, as an interrupt does
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _stop)
    gc.set_threshold(1_000_000)  # syntax trees live to the end; collecting in between is a tenth of the time of `check`
    try:
        app()
    except SystemExit as end:
        if not _ENDED_AT_ONCE.issuperset(sys.argv[1:2] or [""]) or not (end.code is None or isinstance(end.code, int)):
            raise
        # Syntax trees need not be taken apart node by node: another tenth of `check`.
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code or 0)
    finally:
        gc.freeze()  # the collection at the end of the interpreter would go over every tree once more: a tenth, too


def _stop(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"omniport {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Port a Hugging Face diffusion model to vLLM-Omni, and prove the port."""


@app.command(epilog=epilog("scaffold"))
def scaffold(
    model: Model,
    into: Into = None,
    plugin: Plugin = None,
    name: Name = None,
    revision: Revision = None,
    source: Source = None,
    backbone: Backbone = None,
    media: Media = None,
    weights: Weights = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")] = False,
    diff: Diff = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the port that serves this class, and files that were edited.")
    ] = False,
    offline: Offline = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Classify, analyse, rewrite, and write the port."""
    from omniport import port, progress
    from omniport import scaffold as room

    if source is not None and port.is_custom(model, source):
        from omniport.custom.into import scaffold_custom

        if plugin is not None:
            raise OmniportError("the port of a model's own code goes into a tree: --into TREE in place of --plugin")
        with progress.shown(quiet=quiet):
            made = scaffold_custom(
                model,
                source,
                into=into,
                name=name,
                backbone=backbone,
                media=media,
                dry_run=dry_run,
                diff=diff,
                force=force,
                revision=revision,
                offline=offline,
                weights=weights,
            )
        if json:
            print_json(made.to_data())
        else:
            typer.echo(made.text())
        return
    _no_answers(backbone, media)
    if weights is not None:
        raise OmniportError("--weights is for a model with code of its own: give that code with --source DIR")
    with progress.shown(quiet=quiet):
        result = room.scaffold(
            model,
            into=into,
            plugin=plugin,
            name=name,
            revision=revision,
            source=source,
            dry_run=dry_run,
            diff=diff,
            force=force,
            offline=offline,
        )
    if json:
        print_json(result.to_data())
    else:
        typer.echo(result.text())


@app.command(epilog=epilog("plan"))
def plan(
    model: Model,
    into: Into = None,
    revision: Revision = None,
    source: Source = None,
    backbone: Backbone = None,
    media: Media = None,
    short: Annotated[bool, typer.Option("--short", help="A summary in place of every decision.")] = False,
    offline: Offline = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Show every decision and why it is taken; write nothing."""
    from omniport import port, progress

    options = {"--source": source, "--revision": revision, "--backbone": backbone, "--media": media, "--into": into}
    given = [str(word) for pair in options.items() if pair[1] is not None for word in pair]
    if source is not None and port.is_custom(model, source):
        roles = port.custom_plan(model, source, backbone, media)
        if json:
            print_plan(roles)
        else:
            from omniport.report.custom import render as render_roles
            from omniport.report.plan import next_command

            render_roles(roles, console(), next_command(model, given), short)
        return
    _no_answers(backbone, media)
    with progress.shown(quiet=quiet):
        result = port.plan(model, source=source, revision=revision, offline=offline, into=into)
    if json:
        print_plan(result)
        return
    if short:
        from omniport.report.plan_summary import render
    else:
        from omniport.report.plan import render
    render(result, console(), given)


@app.command(epilog=epilog("check"))
def check(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH", help="A port's folder, a file, a plugin or a tree (default: here)."),
    ] = None,
    select: Select = None,
    ignore: Ignore = None,
    output_format: Annotated[
        str, typer.Option(metavar="text|json|github|sarif", help="How findings are printed.")
    ] = "text",
    statistics: Annotated[bool, typer.Option("--statistics", help="Print the number of findings per rule.")] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended safely, and report the rest.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Show what --fix would change, and change nothing.")] = False,
    changed_only: Annotated[
        bool, typer.Option("--changed-only", help="Only findings in files that git says were changed.")
    ] = False,
    base_ref: Annotated[
        str, typer.Option(metavar="REV", help="What --changed-only compares with.", show_default=True)
    ] = "HEAD",
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Find everything anew.")] = False,
) -> None:
    """Lint one port, or every port of a tree, without importing it."""
    from omniport.check import api

    options = api.Options(
        paths=tuple(paths or [Path()]),
        select=tuple(separated(select)),
        ignore=tuple(separated(ignore)),
        output_format=output_format,
        statistics=statistics,
        fix=fix,
        diff=diff,
        base=base_ref if changed_only else None,
        cached=not no_cache,
    )
    if not api.run(options, sys.stdout, sys.stderr):
        raise typer.Exit(FindingsError.exit_code)


@app.command(epilog=epilog("explain"))
def explain(
    code: Code = None,
) -> None:
    """A rule's meaning, why it matters, examples and the fix."""
    from omniport.report.rules import explanation, listing

    typer.echo(listing() if code is None else explanation(code), nl=False)


@app.command(epilog=epilog("matrix"))
def matrix(
    path: Annotated[
        Path, typer.Argument(metavar="TREE", help="A tree, a plugin or a port's folder (default: here).")
    ] = Path(),
    json: Json = False,
) -> None:
    """Which features ports declare, and which are validated."""
    from omniport.report import matrix as table

    rows = table.matrix(path)
    typer.echo(table.to_json(rows) if json else table.render(rows), nl=False)


@app.command(epilog=epilog("verify"))
def verify(
    port: Port,
    feature: Feature = None,
    name: Which = None,
    details: Annotated[bool, typer.Option("--details", help="List every check.")] = False,
    report: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Write a report, too: a page (.html), or text for a pull request (.md)."),
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Prove a port on the real vLLM-Omni, on CPU."""
    from omniport import progress
    from omniport.verify import api
    from omniport.verify.features import FEATURES

    features = tuple(separated(feature)) or None
    with progress.shown(quiet=quiet, total=len(features or FEATURES)) as shown:
        shown.say("starting vLLM-Omni")
        result = api.verify(
            port,
            features=features,
            name=name,
            on_result=lambda found: shown.step(f"{found.feature}: {found.state} ({found.seconds:.1f} s)"),
            on_feature=shown.say,
            reports=tuple(report or ()),
        )
    if json:
        print_json(result.to_data())
    else:
        from omniport.report.verify_table import verify_table

        console().print(verify_table(result, details=details))
        for what, file in (("evidence", result.evidence_file), *(("report", path) for path in report or ())):
            typer.echo(f"{what}: {file}")
        if not result.ok and not details:
            typer.echo(f"`{result.results[0].command} --details` lists every check.", err=True)
    if result.exit_code:
        raise typer.Exit(result.exit_code)


@app.command(epilog=epilog("update"))
def update(
    port: Port,
    name: Which = None,
    revision: Revision = None,
    source: Source = None,
    dry_run: DryRun = False,
    diff: Diff = False,
    offline: Offline = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Port again from newer sources; edits made since are merged."""
    from omniport import progress
    from omniport.update import update as room

    with progress.shown(quiet=quiet):
        result = room(port, name=name, revision=revision, source=source, dry_run=dry_run, diff=diff, offline=offline)
    if json:
        print_json(result.to_data())
    else:
        typer.echo(result.text())
    if result.conflicts:
        raise typer.Exit(FindingsError.exit_code)


@app.command(epilog=epilog("remove"))
def remove(
    port: Port,
    name: Which = None,
    dry_run: DryRun = False,
    force: Annotated[bool, typer.Option("--force", help="Remove files that were edited since, too.")] = False,
    json: Json = False,
) -> None:
    """Take a port out of its tree, or delete a plugin's files."""
    from omniport.remove import remove as room

    result = room(port, name=name, dry_run=dry_run, force=force)
    if json:
        print_json(result.to_data())
    else:
        typer.echo(result.text())


@app.command(epilog=epilog("doctor"))
def doctor(json: Json = False) -> None:
    """What is installed, and what each command would need."""
    from omniport import doctor as room

    needs = room.examine()
    typer.echo(room.to_json(needs) if json else room.to_text(needs), nl=False)
    if not all(need.ok for need in needs):
        raise typer.Exit(FindingsError.exit_code)


def _no_answers(backbone: str | None, media: str | None) -> None:
    for name, value in (("--backbone", backbone), ("--media", media)):
        if value is not None:
            raise OmniportError(f"{name} applies to a model's own code, given with --source DIR")
