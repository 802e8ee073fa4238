"""Write the port of a custom repository into a tree: rendered, parsed and resolved first, then all of it or none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniport.errors import OmniportError

if TYPE_CHECKING:
    from omniport.scaffold import Generated, ScaffoldResult
    from omniport.target.tree import Target


def scaffold_custom(
    model: str,
    source: Path,
    *,
    into: Path | None,
    name: str | None = None,
    backbone: str | None = None,
    media: str | None = None,
    dry_run: bool = False,
    diff: bool = False,
    force: bool = False,
    revision: str | None = None,
    offline: bool = False,
    weights: Path | None = None,
) -> ScaffoldResult:
    """Port the code at ``source``, which the weights of ``model`` are made for, into the tree ``into``.

    Args:
        model: whose weights these are.
        source: folder of the code.
        into: the tree.
        name: of the port.
        backbone: ``file.py:Class``.
        media: what it takes and gives, as :mod:`omniport.custom.media` reads it.
        dry_run: whether nothing is written.
        diff: whether the changes are shown.
        force: whether what is not ours may be replaced.
        revision: of ``model`` on the Hub.
        offline: whether only the caches are asked.
        weights: names and shapes of the weights, in place of those of ``model``.

    Raises:
        OmniportError: the denoiser must be asked for, a name of its closure is not explained, or the tree cannot be
            written.
        FindingsError: files stand in the way that are not ours or were edited.
    """
    from omniport.hub.names import parse_model
    from omniport.scaffold import put
    from omniport.target.tree import open_target

    if into is None:
        raise OmniportError("the port of a model's own code goes into a tree: give one with --into TREE")
    if parse_model(model).form == "diffusers":
        raise OmniportError(f"{model} is a class of diffusers; --source takes a diffusers checkout for it")
    target = open_target(into, writable=not dry_run)
    if target.root is None:
        raise OmniportError(f"{into}: no vLLM-Omni tree")
    made = generate_custom(
        model,
        source,
        target=target,
        name=name,
        backbone=backbone,
        media=media,
        force=force,
        revision=revision,
        offline=offline,
        weights=weights,
    )
    return put(made, target, force=force, dry_run=dry_run, diff=diff)


def generate_custom(
    model: str,
    source: Path,
    *,
    target: Target,
    name: str | None = None,
    backbone: str | None = None,
    media: str | None = None,
    force: bool = False,
    revision: str | None = None,
    offline: bool = False,
    weights: Path | None = None,
) -> Generated:
    """Every file of the port of the code at ``source``, rendered for the tree of ``target`` and not written.

    Raises:
        OmniportError: as :func:`scaffold_custom`.
    """
    from omniport import emit
    from omniport.custom.checkpoint import read_weights
    from omniport.custom.scaffold import custom_port
    from omniport.proven import proven_features
    from omniport.scaffold import Generated

    assert target.root is not None
    found = read_weights(model, revision=revision, offline=offline, names=weights)
    made = custom_port(
        model,
        source,
        name=name,
        backbone=backbone,
        media=media,
        protocol=target.features.component_protocol,
        weights=found,
        offline=offline,
        revision=revision,
    )
    notes: list[Any] = []
    changes = emit.port_files(
        made.plan,
        made.transformer,
        made.pipeline,
        target,
        plugin=False,
        force=force,
        notes=notes,
        others=made.others,
        proven=proven_features,
    )
    inputs = {
        "model": model,
        "form": "custom",
        "revision": found.revision,
        "source": made.plan.model.source,
        "vllm_omni": target.version,
        "original": made.original.to_data() if made.original is not None else None,
        "options": {
            "name": made.plan.name,
            "backbone": backbone,
            "media": media,
            "weights": weights.name if weights else None,
        },
    }
    changes += emit.record_files(
        made.plan, changes, target.root, plugin=False, inputs=inputs, model_index={}, configs={}
    )
    return Generated(
        plan=made.plan,
        root=target.root,
        changes=tuple(changes),
        packages=(target.root / "tests",) if (target.root / "tests").is_dir() else (),
        notes=tuple(f"{f.path}:{f.line}: {f.code} {f.message}" for f in notes),
    )
