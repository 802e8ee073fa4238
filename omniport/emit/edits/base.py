"""What an edit is: rows of one port in one file of the tree, put in and taken out again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from omniport.plan.model import PortPlan
from omniport.records import dataclass
from omniport.target.features import TargetFeatures

Text = Callable[[str], str]


@dataclass(frozen=True)
class Context:
    """What edits and the files beside the model folder are made from.

    ``states`` holds the state of each feature of ``verify`` that was found for the port as it is; ``model_id`` is the
    id of a published checkpoint, empty if none is known; ``recorded`` are the files that the port has edited before,
    ``config`` the published values of the transformer's constructor.
    """

    plan: PortPlan
    root: Path
    features: TargetFeatures
    states: Mapping[str, str] = field(default_factory=dict)
    model_id: str = ""
    recorded: frozenset[str] = frozenset()
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        return self.plan.model.pipeline_class

    @property
    def display(self) -> str:
        """The name people give the model: that of the checkpoint, or of the pipeline."""
        if self.model_id:
            return self.model_id.rpartition("/")[2]
        return re.sub(r"Pipeline\Z", "", self.architecture)

    @property
    def task(self) -> str:
        """``text-to-image`` and its like, from what a request brings and what it gets."""
        output = self.plan.pipeline.output
        media = next((str(d.value).split(", ") for d in self.plan.pipeline.decisions if d.subject == "media"), [])
        # Sound that a model of sound takes is a start that may be left out; what it works from is the text.
        kinds = ("video", "image") if output == "audio" else ("video", "image", "audio")
        source = next((kind for kind in kinds if kind in media), "text")
        return f"{source}-to-{output}"

    @property
    def media(self) -> tuple[str, ...]:
        found = next((d for d in self.plan.pipeline.decisions if d.subject == "media"), None)
        return tuple(str(found.value).split(", ")) if found is not None else ()

    @property
    def several_images(self) -> bool:
        return any(d.subject == "several images" and d.value for d in self.plan.pipeline.decisions)

    @property
    def guided(self) -> bool:
        """Whether a step calls the denoiser once for each branch of guidance."""
        return self.plan.pipeline.cfg in ("sequential", "batched", "branches")

    def supports(self, feature: str) -> bool:
        """Whether the plan declares a feature of the transformer."""
        return any(f.name == feature and f.supported for f in self.plan.transformer.features)

    def validated(self, *proofs: str) -> bool:
        """Whether ``verify`` has validated all of these."""
        return bool(proofs) and all(self.states.get(proof) == "validated" for proof in proofs)

    def default(self, *names: str) -> str:
        """The reference's default of the first of these arguments, as source text; empty if it has none."""
        for argument in self.plan.pipeline.arguments:
            if argument.name in names and argument.default not in (None, "None"):
                return str(argument.default)
        return ""


@dataclass(frozen=True)
class Edit:
    """Rows of the port in the file ``path`` (relative to the root): ``add`` puts them in, ``drop`` takes them out.

    Both return the text unchanged where there is nothing to do, so they can be run twice.
    """

    path: str
    add: Text
    drop: Text
