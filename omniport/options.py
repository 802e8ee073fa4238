"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from omniport.verify.features import FEATURES


def complete_features(incomplete: str) -> list[str]:
    """Names of features for the shell's completion."""
    return [name for name in FEATURES if name.startswith(incomplete)]


def complete_codes(incomplete: str) -> list[tuple[str, str]]:
    """Codes of rules with their names, for the shell's completion."""
    from omniport.check.engine import rule_names

    return [(code, name) for code, name in rule_names().items() if code.startswith(incomplete.upper())]


def separated(values: list[str] | None) -> list[str]:
    """Values of an option that may be repeated, or hold several with commas between them."""
    return [part for value in values or () for part in value.split(",") if part]


MODEL_HELP = "Hugging Face id (org/name), a local folder with that layout, or diffusers:<PipelineClass>."

Model = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP, show_default=False)]
Into = Annotated[
    Path | None, typer.Option(metavar="TREE", help="vllm-omni checkout, or a folder holding the package vllm_omni.")
]
Source = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Reference source: a diffusers checkout (default: the installed one), or a model's own code.",
    ),
]
Backbone = Annotated[
    str | None,
    typer.Option(metavar="FILE:CLASS", help="The denoiser of a model's own code, where it cannot be told."),
]
Media = Annotated[
    str | None,
    typer.Option(
        metavar="[IN-to-]OUT",
        help="What a model's own code takes and gives, where it cannot be told: image, image+audio-to-video.",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Names and shapes of a custom model's weights (JSON or safetensors), in place of the published ones.",
    ),
]
Revision = Annotated[str | None, typer.Option(metavar="REV", help="Branch, tag or commit of the model repository.")]
Offline = Annotated[bool, typer.Option("--offline", help="Use the cache only.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Plugin = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Write a pip-installable package here (without --into: in a folder of its name)."),
]
Name = Annotated[str | None, typer.Option(metavar="NAME", help="Name of the port (default: from the pipeline class).")]
Diff = Annotated[bool, typer.Option("--diff", help="Show the changes as a unified diff.")]

Port = Annotated[
    Path,
    typer.Argument(
        metavar="PORT", help="Tree or plugin that holds the port, or the port's folder in it.", show_default=False
    ),
]
Which = Annotated[str | None, typer.Option(metavar="NAME", help="Which port, where there are several.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")]
Feature = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help=f"Only these features; repeat or use commas: {', '.join(FEATURES)}.",
        autocompletion=complete_features,
    ),
]

Code = Annotated[
    str | None,
    typer.Argument(metavar="CODE", help="Code or name of a rule; none lists all.", autocompletion=complete_codes),
]
Select = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CODE", help="Only rules whose code starts so; repeat or use commas.", autocompletion=complete_codes
    ),
]
Ignore = Annotated[
    list[str] | None, typer.Option(metavar="CODE", help="Not rules whose code starts so; repeat or use commas.")
]
