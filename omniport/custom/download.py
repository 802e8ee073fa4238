"""The script that fetches a custom model's weights: from which repositories, at which commit, and which files.

Named are MODEL itself and what the code asks the Hub for with literal names.  A commit is pinned where the Hub answers;
where it does not, the revision that the code names, or ``main`` with a TODO, stands there.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from omniport.custom.checkpoint import Weights
from omniport.custom.code import CodeFile, CodeTree, nodes
from omniport.custom.facts import dotted
from omniport.custom.todo import marker, todo
from omniport.emit.render import render
from omniport.errors import OmniportError
from omniport.hub.names import is_commit, is_repo_id, parse_model
from omniport.hub.stores import HubStore
from omniport.plan.custom import CustomPlan
from omniport.plan.model import Decision, Why
from omniport.records import dataclass

_PLAIN = ("*.json", "*.txt", "*.model")  # configurations and tokenizers
_FILE = re.compile(r"[\w./*-]+\Z", re.ASCII)
_SOURCES = 16
PICKLES = (".pth", ".pt", ".bin", ".ckpt")
VERSION = "0.40.0"  # of diffusers: the index is found as theirs are, by this key


@dataclass(frozen=True)
class Source:
    """Files of one repository; ``why`` is the line that names it."""

    repository: str
    revision: str
    files: tuple[str, ...]
    folder: str
    why: str


def sources(
    tree: CodeTree, roles: CustomPlan, model: str, weights: Weights, chosen: tuple[str, ...], offline: bool
) -> tuple[Source, ...]:
    """What is fetched.

    Args:
        tree: the code.
        roles: its role report.
        model: MODEL; a local folder is no source.
        weights: what MODEL holds.
        chosen: files of the sets that the port loads; empty where they are not known.
        offline: whether the Hub must not be asked.
    """
    found: list[Source] = []
    if parse_model(model).form == "hub":
        named = tuple(sorted({w.reason.rpartition("/")[2] for w in roles.weights if _FILE.match(w.reason)}))
        files = (*_PLAIN, *(chosen or ("*.safetensors", *named)))
        found.append(Source(model, weights.revision or "main", tuple(dict.fromkeys(files)), "", "the model"))
    for repository, revision, files, why in _calls(tree):
        if repository == model or any(s.repository == repository for s in found) or len(found) == _SOURCES:
            continue
        pinned = revision if is_commit(revision) else _commit(repository, revision, offline)
        folder = repository.rpartition("/")[2]
        found.append(Source(repository, pinned or revision, files, folder, f"{why.file}:{why.line}"))
    return tuple(found)


def _calls(tree: CodeTree) -> Iterator[tuple[str, str, tuple[str, ...], Why]]:
    """Literal ``snapshot_download`` and ``hf_hub_download``; several files of one repository are one source."""
    found: dict[str, tuple[str, list[str], Why]] = {}
    for file in tree.files:
        for node in nodes(file.tree):
            last = dotted(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""
            if last not in ("snapshot_download", "hf_hub_download") or not isinstance(node, ast.Call):
                continue
            repository, revision, files = _arguments(node, last)
            if not is_repo_id(repository):
                continue
            known = found.setdefault(repository, (revision, [], _why(file, node)))
            known[1].extend(f for f in files if f not in known[1] and _FILE.match(f))
    for repository, (revision, files, why) in found.items():
        yield repository, revision, tuple(files or ["*"]), why


def _arguments(node: ast.Call, last: str) -> tuple[str, str, list[str]]:
    given = {k.arg: k.value for k in node.keywords if k.arg}
    names = ("repo_id", "filename") if last == "hf_hub_download" else ("repo_id",)
    given |= dict(zip(names, node.args, strict=False))
    repository, revision = _text(given.get("repo_id")), _text(given.get("revision")) or "main"
    patterns = given.get("allow_patterns")
    listed = patterns.elts if isinstance(patterns, ast.List | ast.Tuple) else [patterns] if patterns else []
    files = [text for node in (*listed, given.get("filename")) if (text := _text(node))]
    folder = _text(given.get("subfolder"))
    return repository, revision, [f"{folder}/{f}" if folder else f for f in files]


def _text(node: ast.expr | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _why(file: CodeFile, node: ast.AST) -> Why:
    return file.why("downloads it", node)


def _commit(repository: str, revision: str, offline: bool) -> str | None:
    from omniport.hub.client import offline_by_environment

    try:
        return HubStore(repository, revision, offline or offline_by_environment()).revision
    except OmniportError:
        return None  # the script then has the name, and a TODO


def gaps(found: tuple[Source, ...], model: str) -> tuple[Decision, ...]:
    """Revisions that are not pinned, and a model whose repository is not known."""
    loose = [s.repository for s in found if not is_commit(s.revision)]
    made = (
        [todo("REVISION", ", ".join(loose), Why("the Hub was not asked, or does not know it", model))] if loose else []
    )
    if parse_model(model).form == "local":
        made.append(todo("REPO_ID", "", Why(f"{model} is a folder")))
    return tuple(made)


def _may_fetch_pickles(found: tuple[Source, ...]) -> bool:
    """Whether a source names pickles or everything; without a source the weights are the user's own."""
    return not found or any(file.endswith((*PICKLES, "*")) for source in found for file in source.files)


def script(
    pipeline: str,
    path: str,
    transformer: str,
    found: tuple[Source, ...],
    model: str,
    config: dict[str, Any],
    entries: Mapping[str, list[str]],
) -> str:
    """The text of the script, unformatted."""
    lines: list[str] = []
    for gap in gaps(found, model):
        lines += textwrap.wrap(f"{marker(gap.subject)}: {gap.value}", 116)
    return render(
        "custom/download.py.j2",
        pipeline=pipeline,
        path=path,
        sources=found,
        pickles=PICKLES if _may_fetch_pickles(found) else (),
        todo=lines,
        index={"_class_name": pipeline, "_diffusers_version": VERSION, **entries},
        config={"_class_name": transformer, **config},
    )
