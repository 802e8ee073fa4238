"""A port of a custom repository: its transformer, a pipeline whose gaps are counted, and the plan of both."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from omniport.custom import read_repository
from omniport.custom.checkpoint import Weights
from omniport.custom.code import read_code
from omniport.custom.configs import ConfigDict, Configs
from omniport.custom.configs import find as find_configs
from omniport.custom.download import gaps as download_gaps
from omniport.custom.download import script, sources
from omniport.custom.hybrid import LIBRARIES, denoiser, model_plan, own, stock
from omniport.custom.media_code import attributes, bases, media_decisions, question
from omniport.custom.naming import Naming, Original, compare
from omniport.custom.notice import notice
from omniport.custom.submodels import Kind, SubModel, bring, modules
from omniport.custom.todo import marker, todo
from omniport.custom.transformer import port_transformer
from omniport.custom.unmarked import heads
from omniport.custom.weight_names import MODULE, weight_names
from omniport.custom.wiring import Wiring, wire
from omniport.emit.render import render
from omniport.errors import OmniportError, UnsupportedError, refusing
from omniport.hub.names import parse_model
from omniport.plan.custom import Candidate, CustomPlan, MediaPlan
from omniport.plan.model import Decision, ModelPlan, PipelinePlan, PortPlan, Why
from omniport.plan.todos import DOWNLOAD
from omniport.records import dataclass

KINDS: tuple[Kind, ...] = ("fusion", "autoencoder")
_WIDTH = 108  # of a comment in a constructor
_SHOWN = 3  # places named as evidence of one gap


@dataclass(frozen=True)
class CustomPort:
    """The plan of the port and the code of its modules, unformatted.

    ``others`` are further modules of the port, by name, or files of the tree, by path.  ``original`` is what the source
    shows of the denoiser's parameters.
    """

    plan: PortPlan
    transformer: str
    pipeline: str
    others: Mapping[str, str]
    original: Original | None = None


@refusing("porting the repository")
def custom_port(
    model: str,
    root: Path,
    *,
    name: str | None,
    backbone: str | None,
    media: str | None = None,
    protocol: str,
    weights: Weights,
    offline: bool = False,
    revision: str | None = None,
) -> CustomPort:
    """Port the code at ``root``, which the weights of ``model`` are made for.

    Raises:
        OmniportError: which class is the denoiser must be asked; its closure cannot be cut.
    """
    hybrid = model_plan(model, revision=revision, offline=offline)
    tree = read_code(root)
    if hybrid is not None and backbone is None:
        backbone = denoiser(hybrid, tree)
    known = stock(hybrid) if hybrid is not None else ()
    roles = read_repository(root, backbone, media, tuple((c.class_name, c.why) for c in known), tree)
    if roles.backbone is None:
        raise OmniportError("; ".join(question.reason for question in roles.questions))
    chosen = roles.backbone
    port_name = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", chosen.name).lower()
    made = port_transformer(tree, chosen, roles.dependencies)
    configs = find_configs(tree, chosen, made.settings)
    models: list[SubModel] = []
    left: list[Decision] = []
    brought, todos = own(hybrid, root, tree, roles.dependencies) if hybrid is not None else ((), ())
    left += todos
    for kind in KINDS:
        if kind == "autoencoder" and any(c.role == "vae" for c in (*known, *(o.component for o in brought))):
            continue
        model_of, todos = bring(root, tree, roles, kind, weights, made.code, f"{port_name}_transformer")
        models += [model_of] if model_of is not None else []
        left += todos
    fusion = next((m for m in models if m.kind == "fusion"), None)
    vae = next((m for m in models if m.kind == "autoencoder"), None)
    held, given, module = chosen, configs.chosen.values if configs.chosen else {}, f"{port_name}_transformer"
    naming = compare(tree, chosen, weights, given, settings=made.settings)
    wiring: Wiring | None = None
    apart = ""
    if fusion is not None:
        try:
            if naming.match is not None and not naming.reason:
                alone = f"{naming.match.weights.name} holds the tensors of {chosen.name} alone"
                raise UnsupportedError(alone, fusion.why.file, fusion.why.line)
            wiring = wire(tree, fusion, _candidate(roles, fusion), made, configs)
            models = [replace(m, code=wiring.code) if m is fusion else m for m in models]
            held, given, module = wiring.candidate, wiring.values, "fusion"
            naming = compare(tree, held, weights, given, module)
        except UnsupportedError as refusal:
            apart = f"{fusion.class_name} in fusion.py: {refusal.construct}"
            left.append(todo("FUSION", apart, Why(refusal.construct, refusal.file, refusal.line)))
    family = "".join(part.capitalize() for part in name.split("_")) if name else chosen.name.removesuffix("Model")
    pipeline_class = hybrid.pipeline_class if hybrid is not None else f"{family}Pipeline"
    assert roles.media is not None  # there is a denoiser
    gaps = _gaps(roles, configs, wiring is not None)
    used = [m.weights.name for m in (naming.match, vae.match if vae else None) if m is not None]
    fetched = sources(tree, roles, model, weights, tuple(used), offline)
    left += download_gaps(fetched, model)
    pipeline = render(
        "custom/pipeline.py.j2",
        name=port_name,
        pipeline=pipeline_class,
        transformer=held.name,
        transformer_module=module,
        denoisers=[f"transformer.{name}" for name in wiring.denoisers] if wiring else ["transformer"],
        resident=[f"transformer.{name}" for name in wiring.resident] if wiring else [],
        title=f"{held.name} of {model}",
        native=made.native,
        protocols=sorted([*([protocol] if protocol else []), *bases(roles.media)]),
        bases=[*([protocol] if protocol else []), *bases(roles.media)],
        attributes=attributes(roles.media),
        media_todo=_wrapped("MEDIA", question(roles.media)) if roles.media.questions else [],
        subfolder=naming.match.weights.folder or None if naming.match else _folder(hybrid, chosen),
        pattern=_pattern(weights, naming) if naming.match else _single_file(roles),
        mapped=naming.table is not None,
        remap=_wrapped("REMAP", naming.reason) if naming.reason else [],
        marker=marker,
        config_todo=[] if configs.chosen or wiring else _wrapped("CONFIG", _config_evidence(roles, configs)),
        stock=known,
        libraries={
            library: sorted({c.class_name for c in known if c.library == library}) for library in sorted(LIBRARIES)
        },
        encoders=[c.name for c in known if c.role == "encoder"],
        vaes=[c.name for c in known if c.role == "vae"]
        + (["vae"] if vae is not None and vae.match is not None else []),
        own=[_wrapped("COMPONENT", f"{o.component.class_name} in {o.component.name}.py") for o in brought],
        configs=_tables(configs, wiring, fusion),
        config=wiring.expression if wiring else configs.chosen.name if configs.chosen else "",
        fusion=_wrapped("FUSION", apart) if apart else [],
        vae=vae.class_name if vae is not None and vae.match is not None else "",
        vae_subfolder=vae.match.weights.folder or None if vae is not None and vae.match else None,
        vae_pattern=vae.match.weights.pattern if vae is not None and vae.match and not weights.alone else None,
        encode_evidence=_lines(roles, "text encoder"),
        loop_evidence=_lines(roles, "denoise loop"),
        decode_evidence=[*_lines(roles, "vae"), *([f"{vae.class_name} is in autoencoder.py"] if vae else [])],
    )
    plan = PortPlan(
        name=port_name,
        model=_model(model, pipeline_class, roles, weights, hybrid),
        transformer=made.plan,
        pipeline=_pipeline(pipeline_class, chosen, roles.media, (*(wiring.why if wiring else ()), *naming.decisions)),
        todos=(*made.todos, *naming.todos(held), *left, *gaps),
    )
    others = dict(modules(tuple(models)))
    path = DOWNLOAD.format(name=port_name)
    entries = {c.name: [c.library, c.class_name] for c in known}
    others[path] = script(pipeline_class, path, held.name, fetched, model, given, entries)
    others |= {o.component.name: o.code for o in brought}
    if naming.table is not None:
        others[MODULE] = weight_names(naming.table)
    of_code, of_pipeline = heads(plan.todos, (made.code, pipeline, *others.values()))
    code = notice(root, chosen.file) + of_code + made.code
    return CustomPort(plan, code, of_pipeline + pipeline, others, naming.original)


def _folder(hybrid: ModelPlan | None, chosen: Candidate) -> str | None:
    """The component of the index that the denoiser is; None without one."""
    components = hybrid.components if hybrid is not None else ()
    return next((c.name for c in components if c.role == "dit" and c.class_name == chosen.name), None)


def _pattern(weights: Weights, naming: Naming) -> str | None:
    """Which files of the folder the loader shall take; None where there are no others."""
    assert naming.match is not None
    return None if weights.alone else naming.match.weights.pattern


def _wrapped(identity: str, text: str) -> list[str]:
    return textwrap.wrap(f"{marker(identity)}: {text}", _WIDTH)


def _candidate(roles: CustomPlan, model: SubModel) -> Candidate:
    """What the role report says of the class."""
    return next(c for c in roles.candidates if (c.role, c.name, c.file) == ("fusion", model.class_name, model.why.file))


def _tables(configs: Configs, wiring: Wiring | None, fusion: SubModel | None) -> list[ConfigDict]:
    """The sets of values that the pipeline shows: those it uses, or all where a human must choose."""
    if wiring is not None:
        return list({table.name: table for table in wiring.tables.values()}.values())
    return [configs.chosen] if configs.chosen is not None and fusion is None else list(configs.dicts)


def _config_evidence(roles: CustomPlan, configs: Configs) -> str:
    """What is known of the constructor's values, where no one set of them is."""
    told = [f"choose one of {', '.join(d.name for d in configs.dicts)}"] if len(configs.dicts) > 1 else []
    told += [f"{w.file}:{w.line}: {w.reason}" for d in configs.dicts for w in d.skipped][:_SHOWN]
    told += [f"{w.file}:{w.line}: {w.reason}" for w in configs.changes][:_SHOWN]
    return "; ".join(told) or _places(roles, "config source")


def _gaps(roles: CustomPlan, configs: Configs, wired: bool) -> tuple[Decision, ...]:
    found = [
        todo(identity, "", _evidence(roles, role))
        for identity, role in (
            ("ENCODE_PROMPT", "text encoder"),
            ("DENOISE", "denoise loop"),
            ("DECODE", "vae"),
        )
    ]
    found.append(todo("DENOISE", "put encode_prompt, diffuse and decode together", _evidence(roles, "denoise loop")))
    if roles.media is not None and roles.media.questions:
        found.append(todo("MEDIA", question(roles.media), roles.media.questions[0]))
    if configs.chosen is None and not wired:
        found.append(todo("CONFIG", _config_evidence(roles, configs), _evidence(roles, "config source")))
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


def _model(model: str, pipeline_class: str, roles: CustomPlan, weights: Weights, hybrid: ModelPlan | None) -> ModelPlan:
    assert roles.backbone is not None
    return ModelPlan(
        model=model,
        form="local" if parse_model(model).form == "local" else "hub",
        revision=weights.revision,
        pipeline_class=pipeline_class,
        path=hybrid.path if hybrid is not None and hybrid.path == "hybrid" else "path B",
        source=roles.source,
        components=hybrid.components if hybrid is not None else (),
        why=(*roles.backbone.evidence, *(hybrid.why if hybrid is not None else ())),
        follows="fill what is left: every OMNIPORT-TODO names its place in the source (B2 to B7)",
    )


def _pipeline(class_name: str, backbone: Candidate, media: MediaPlan, decisions: tuple[Decision, ...]) -> PipelinePlan:
    return PipelinePlan(
        class_name=class_name,
        module=backbone.file.removesuffix(".py").replace("/", "."),
        output=media.output or "unknown",
        arguments=(),
        dropped=(),
        cfg="none",
        transformer_attributes=(),
        post_process=None,
        pre_process=None,
        decisions=(*decisions, *media_decisions(media)),
    )
