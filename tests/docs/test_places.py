"""Files and folders that the pages on how things work name are where they say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.commands import ROOT
from tests.support.ports import installed_package

PAGES = sorted((ROOT / "docs" / "how").glob("*.md"))
_NAMED = re.compile(r"`([\w.-]+(?:/[\w.-]+)*)`")
_OURS = ("benchmarks", "custom", "fixtures", "omniport", "tests")


def places(text: str) -> Iterator[str]:
    """Names of Python files, and of what stands in folders of ours."""
    for name in _NAMED.findall(text):
        if name.endswith(".py") or ("/" in name and name.split("/")[0] in _OURS):
            yield name


def there(name: str) -> bool:
    """Whether there is such a file: from the root, from a package, or of that name alone anywhere in ours."""
    if any((base / name).exists() for base in (ROOT, ROOT / "omniport", installed_package() / "diffusion")):
        return True
    return "/" not in name and any((ROOT / "omniport").rglob(name))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_what_a_page_names_is_there(page: Path) -> None:
    assert [name for name in places(page.read_text("utf-8")) if not there(name)] == []


def test_the_pages_name_files() -> None:
    assert sum(len(list(places(page.read_text("utf-8")))) for page in PAGES) > 20


def test_a_name_that_is_gone_is_seen() -> None:
    text = "see `omniport/analyse/tp.py`, `kinds.py`, `omniport/analyse/gone.py`, `custom/gone` and `gone.py`"
    assert [name for name in places(text) if not there(name)] == [
        "omniport/analyse/gone.py",
        "custom/gone",
        "gone.py",
    ]
