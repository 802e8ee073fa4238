"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
