"""A port of a custom repository: its transformer, a pipeline whose gaps are counted, and the plan of both."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from omniport.custom import read_repository
from omniport.custom.checkpoint import Weights
from omniport.custom.code import read_code
from omniport.custom.naming import Naming, compare
from omniport.custom.todo import marker, todo
from omniport.custom.transformer import CustomTransformer, port_transformer
from omniport.custom.weight_names import MODULE, weight_names
from omniport.emit.render import render
from omniport.errors import OmniportError, refusing
from omniport.hub.names import parse_model
from omniport.plan.custom import Candidate, CustomPlan
from omniport.plan.model import Decision, ModelPlan, PipelinePlan, PortPlan, Why

_WIDTH = 108  # of a comment in a constructor
_SHOWN = 3  # places named as evidence of one gap


@dataclass(frozen=True)
class CustomPort:
    """The plan of the port and the code of its modules, unformatted.

    ``others`` are further modules of the port, by the name of the file without its ending.
    """

    plan: PortPlan
    transformer: str
    pipeline: str
    others: Mapping[str, str]


@refusing("porting the repository")
def custom_port(
    model: str, root: Path, *, name: str | None, backbone: str | None, protocol: str, weights: Weights
) -> CustomPort:
    """Port the code at ``root``, which the weights of ``model`` are made for.

    Raises:
        OmniportError: which class is the denoiser must be asked; its closure cannot be cut.
    """
    roles = read_repository(root, backbone)
    if roles.backbone is None:
        raise OmniportError("; ".join(question.reason for question in roles.questions))
    chosen = roles.backbone
    port_name = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", chosen.name).lower()
    tree = read_code(root)
    made = port_transformer(tree, chosen, roles.dependencies)
    naming = compare(tree, chosen, weights, {})
    family = "".join(part.capitalize() for part in name.split("_")) if name else chosen.name.removesuffix("Model")
    pipeline_class = f"{family}Pipeline"
    gaps = _gaps(roles)
    pipeline = render(
        "custom/pipeline.py.j2",
        name=port_name,
        pipeline=pipeline_class,
        transformer=chosen.name,
        title=f"{chosen.name} of {model}",
        native=made.native,
        protocol=protocol,
        subfolder=naming.match.weights.folder or None if naming.match else None,
        pattern=_pattern(weights, naming) if naming.match else _single_file(roles),
        mapped=naming.table is not None,
        remap=textwrap.wrap(f"{marker('REMAP')}: {naming.reason}", _WIDTH) if naming.reason else [],
        marker=marker,
        config_evidence=_places(roles, "config source"),
        encode_evidence=_lines(roles, "text encoder"),
        loop_evidence=_lines(roles, "denoise loop"),
        decode_evidence=_lines(roles, "vae"),
    )
    plan = PortPlan(
        name=port_name,
        model=_model(model, pipeline_class, roles, weights),
        transformer=made.plan,
        pipeline=_pipeline(pipeline_class, chosen, naming.decisions),
        todos=(*made.todos, *naming.todos(chosen), *gaps),
    )
    others = {MODULE: weight_names(naming.table)} if naming.table is not None else {}
    return CustomPort(plan, _header(root, chosen, made), pipeline, others)


def _pattern(weights: Weights, naming: Naming) -> str | None:
    """Which files of the folder the loader shall take; None where there are no others."""
    assert naming.match is not None
    return None if weights.alone else naming.match.weights.pattern


def _gaps(roles: CustomPlan) -> tuple[Decision, ...]:
    found = [
        todo(identity, "", _evidence(roles, role))
        for identity, role in (
            ("ENCODE_PROMPT", "text encoder"),
            ("DENOISE", "denoise loop"),
            ("DECODE", "vae"),
            ("CONFIG", "config source"),
        )
    ]
    if not roles.permissive:
        found.append(todo("LICENCE", roles.licence.reason, roles.licence))
    return tuple(found)


def _evidence(roles: CustomPlan, role: str) -> Why:
    best = next((c for c in roles.candidates if c.role == role), None)
    return Why(f"no {role} was found") if best is None else Why(f"see {best.name}", best.file, best.line)


def _lines(roles: CustomPlan, role: str) -> list[str]:
    found = [c for c in roles.candidates if c.role == role][:_SHOWN]
    return [f"{c.file}:{c.line}: {c.name}" for c in found] or [f"no {role} was found in the repository"]


def _places(roles: CustomPlan, role: str) -> str:
    return "; ".join(_lines(roles, role))


def _single_file(roles: CustomPlan) -> str | None:
    """The one safetensors file that the code names; of several, or none, the loader takes what is there."""
    names = [why.reason for why in roles.weights if re.fullmatch(r"[\w.-]+\.safetensors", why.reason)]
    return names[0] if len(names) == 1 else None


def _model(model: str, pipeline_class: str, roles: CustomPlan, weights: Weights) -> ModelPlan:
    assert roles.backbone is not None
    return ModelPlan(
        model=model,
        form="local" if parse_model(model).form == "local" else "hub",
        revision=weights.revision,
        pipeline_class=pipeline_class,
        path="path B",
        source=roles.source,
        components=(),
        why=roles.backbone.evidence,
        follows="fill what is left: every OMNIPORT-TODO names its place in the source (B2 to B7)",
    )


def _pipeline(class_name: str, backbone: Candidate, decisions: tuple[Decision, ...]) -> PipelinePlan:
    return PipelinePlan(
        class_name=class_name,
        module=backbone.file.removesuffix(".py").replace("/", "."),
        output="image",
        arguments=(),
        dropped=(),
        cfg="none",
        transformer_attributes=(),
        post_process=None,
        pre_process=None,
        decisions=decisions,
    )


def _header(root: Path, backbone: Candidate, made: CustomTransformer) -> str:
    """The code with the copyright notice of the file that the denoiser is from."""
    notice = []
    for line in (root / backbone.file).read_bytes().decode("utf-8-sig", "replace").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("#!") and "coding" not in line:
            notice.append(line)
    return "\n".join([*notice, "", made.code])
