"""Names from outside, checked before they become a path, an identifier or a URL."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import Literal

from omniport.errors import OmniportError
from omniport.records import dataclass

Form = Literal["hub", "local", "diffusers"]

_SEGMENT = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\Z")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+-]{0,254}\Z")
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_PAGE = re.compile(r"(?:https?://)?(?:[\w-]+\.)*(?:huggingface\.co|hf\.co)/([^/?#]+/[^/?#]+)")
_FORMS = "MODEL is a Hub id (org/name), a local folder, or diffusers:<PipelineClass>"


@dataclass(frozen=True)
class Reference:
    """What MODEL names: a Hub id, a folder (``value`` is its path as given) or a pipeline class of diffusers."""

    form: Form
    value: str


def parse_model(model: str) -> Reference:
    """Tell the three forms of MODEL apart; an existing folder wins over a Hub id of the same spelling.

    Raises:
        OmniportError: it has none of the three forms, or the folder it names does not exist.
    """
    text = model.strip()
    if not text or "\0" in text:
        raise OmniportError(f"MODEL is empty; {_FORMS}")
    if text.startswith("diffusers:"):
        name = text.removeprefix("diffusers:")
        if not is_identifier(name):
            raise OmniportError(f"{model}: {name!r} is no class name; {_FORMS}")
        return Reference("diffusers", name)
    try:
        folder = Path(text).expanduser()
        is_folder, is_there = folder.is_dir(), folder.exists()
    except (OSError, RuntimeError, ValueError) as error:  # too long, no such user, half a surrogate pair
        raise OmniportError(f"{model[:200]}: no path: {getattr(error, 'strerror', None) or error}") from None
    if is_folder:
        return Reference("local", str(folder))
    if is_there:
        raise OmniportError(f"{model}: a file, not a folder; {_FORMS}")
    if text.startswith((".", "/", "~")) or "\\" in text:
        raise OmniportError(f"{model}: no such folder")
    if not is_repo_id(text):
        raise OmniportError(f"{model}: no such folder, and no Hub id either; {_meant(text) or _FORMS}")
    return Reference("hub", text)


def _meant(text: str) -> str:
    """The form of MODEL that a near miss stands for: the address of a model's page, a class without its prefix."""
    found = _PAGE.match(text)
    if found and is_repo_id(found[1]):
        return f"did you mean {found[1]}?"
    name = text.rpartition(":")[2]
    return f"did you mean diffusers:{name}?" if name.endswith("Pipeline") and is_identifier(name) else ""


def is_repo_id(text: str) -> bool:
    """``org/name`` by the Hub's own rules: two plain segments, 96 characters, no ``--`` or ``..``, no ``.git``."""
    segments = text.split("/")
    return (
        len(segments) == 2
        and len(text) <= 96
        and all(_SEGMENT.match(segment) for segment in segments)
        and "--" not in text
        and ".." not in text
        and not text.endswith(".git")
    )


def is_commit(revision: str) -> bool:
    """Whether ``revision`` is a full commit sha, which needs no resolving."""
    return bool(_COMMIT.match(revision))


def check_revision(revision: str) -> str:
    """A branch, tag, ``refs/pr/1`` or commit; raises OmniportError for anything that could leave its place."""
    if not _REVISION.match(revision) or ".." in revision or "//" in revision or revision.endswith("/"):
        raise OmniportError(f"--revision {revision!r} is no branch, tag or commit")
    return revision


def is_identifier(name: object) -> bool:
    """An ASCII Python identifier that is no keyword and no dunder name: safe in a path and in generated code."""
    return (
        isinstance(name, str)
        and name.isascii()
        and name.isidentifier()
        and len(name) <= 100
        and not keyword.iskeyword(name)
        and not name.startswith("__")
    )


def is_plain_path(path: str) -> bool:
    """A relative POSIX path of plain segments, as the Hub lists them: no ``..``, no absolute path, no backslash."""
    return (
        bool(path) and "\\" not in path and "\0" not in path and all(p not in ("", ".", "..") for p in path.split("/"))
    )
