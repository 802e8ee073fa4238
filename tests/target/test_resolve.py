"""Imports are found where Python would find them, and missed where it would not."""

import importlib.util
import sys
from pathlib import Path

import pytest

from omniport.errors import OmniportError
from omniport.target.resolve import imports, resolve_imports
from tests.support.ports import installed_package


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package ``toy`` with the forms of modules that occur."""
    files = {
        "__init__.py": "from .plain import Thing as Renamed\n",
        "plain.py": "import os\nclass Thing: ...\ndef f(): ...\nA = B = 1\nC: int = 2\nfor loop in (): ...\n",
        "guarded.py": "try:\n    import nowhere\nexcept ImportError:\n    FALLBACK = None\nelse:\n    OTHER = 1\n",
        "star.py": "from .plain import *\n",
        "limited.py": "from .plain import *\n__all__ = ['named_only']\n",
        "lazy/__init__.py": (
            "from typing import TYPE_CHECKING\n_structure = {'a': ['Listed']}\n"
            "if TYPE_CHECKING:\n    from .a import Typed\nelse:\n    import sys\n"
            "    sys.modules[__name__] = _LazyModule(__name__, _structure)\n"
        ),
        "lazy/a.py": "class Typed: ...\n",
        "getter.py": "NAMES = {'Known': 1}\ndef __getattr__(name): ...\n",
        "filler.py": "for n in dir(object):\n    globals()[n] = 1\n",
        "spaces/inner.py": "x = 1\n",
        "broken.py": "def (\n",
        "nested.py": "def f():\n    inside = 1\nclass C:\n    attribute = 1\n",
        "aliased.py": "import toy.plain as path\n",
    }
    for name, text in files.items():
        path = tmp_path / "toy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "toy" / "compiled.cpython-311-x86_64-linux-gnu.so").write_bytes(b"")
    return tmp_path / "toy"


FOUND = [
    "import toy.plain",
    "from toy import Renamed, plain",
    "from toy.plain import Thing, f, A, B, C, loop, os",
    "from toy.guarded import FALLBACK, OTHER, nowhere",
    "from toy.star import Thing",
    "from toy.limited import named_only",
    "from toy.lazy import Listed, Typed",
    "from toy.getter import Known",
    "from toy.spaces import inner",
    "from toy.spaces.inner import x",
    "from toy.aliased.path import Thing",
    "import toy.compiled",
    "import os.path, sys, math, collections.abc",
    "from os.path import join",
    "from math import sqrt",
    "from typing import Any, TYPE_CHECKING",
    "from collections.abc import Iterable",
    "from __future__ import annotations",
    "def late():\n    from toy.plain import Thing",
]
MISSING = [
    "import toy.nothing",
    "from toy import Thing",
    "from toy.plain import nothing",
    "from toy.star import nothing",
    "from toy.lazy import Unlisted",
    "from toy.lazy.a import Listed",
    "from toy.nested import inside",
    "from toy.nested import attribute",
    "from toy.spaces import outer",
    "from toy.plain.Thing import x",
    "from math import nothing",
    "from os.path import nothing",
    "from collections.abc import Nothing",
    "def late():\n    from toy.plain import nothing",
    "if False:\n    import toy.nothing",
]
UNCHECKED = [
    "import no_such_package_anywhere",
    "from no_such_package_anywhere.x import y",
    "from toy.getter import unknown",
    "from toy.filler import anything",
    "from toy.compiled import anything",
    "from toy.broken import anything",
]


@pytest.mark.parametrize("text", FOUND)
def test_found(package: Path, text: str):
    result = resolve_imports({"m.py": text}, package)
    assert (result.missing, result.unchecked) == ((), ())
    assert result.resolved


@pytest.mark.parametrize("text", MISSING)
def test_missing(package: Path, text: str):
    result = resolve_imports({"m.py": text}, package)
    assert len(result.missing) == 1 and not result.unchecked
    assert result.missing[0].file == "m.py" and result.missing[0].line == len(text.splitlines())


@pytest.mark.parametrize("text", UNCHECKED)
def test_not_checked_is_said(package: Path, text: str):
    result = resolve_imports({"m.py": text}, package)
    assert len(result.unchecked) == 1 and not result.missing and result.unchecked[0].reason


def test_files_about_to_be_written_count(package: Path):
    sources = {
        "toy/new/__init__.py": "from .one import One\nfrom ..plain import Thing\n",
        "toy/new/one.py": "from .two import Two\nfrom . import two\nfrom .two import nothing\nOne = Two\n",
        "toy/new/two.py": "Two = 1\n",
        "toy/plain.py": "class Thing: ...\n",
        "outside.py": "from toy.new import One\nfrom toy.plain import A\n",
    }
    missing = resolve_imports(sources, package).missing
    assert [(m.file, m.line, m.name) for m in missing] == [
        ("toy/new/one.py", 3, "toy.new.two.nothing"),
        ("outside.py", 2, "toy.plain.A"),
    ]


def test_a_rewritten_init_keeps_its_neighbours(package: Path):
    sources = {"toy/lazy/__init__.py": "from .a import Typed\nfrom .b import x\n"}
    assert [m.name for m in resolve_imports(sources, package).missing] == ["toy.lazy.b.x"]


def test_a_package_that_is_not_there_yet():
    sources = {"brand_new/__init__.py": "from .x import y\n", "brand_new/x.py": "y = 1\nfrom brand_new.z import q\n"}
    assert [m.name for m in resolve_imports(sources, None).missing] == ["brand_new.z.q"]


def test_relative_imports_stay_inside():
    with pytest.raises(OmniportError, match="leaves the package"):
        list(imports("from ... import x", "a/b.py"))
    with pytest.raises(OmniportError, match="not valid Python"):
        list(imports("def (", "a/b.py"))


def test_star_imports_that_go_round_end(package: Path):
    (package / "one.py").write_text("from .two import *\n")
    (package / "two.py").write_text("from .one import *\n")
    assert len(resolve_imports({"m.py": "from toy.one import x"}, package).missing) == 1


def test_the_models_of_the_tree_resolve_without_importing_anything():
    package = installed_package()
    heavy = {"torch", "vllm", "diffusers", "transformers"} - set(sys.modules)
    sources = {
        p.relative_to(package.parent).as_posix(): p.read_text("utf-8")
        for p in (package / "diffusion" / "models" / "flux").glob("*.py")
    }
    result = resolve_imports(sources, package)
    assert result.missing == ()
    assert result.resolved > 50
    assert not heavy & set(sys.modules)
    broken = {k: v.replace("CFGParallelMixin", "CFGParallelMixture") for k, v in sources.items()}
    assert {m.name for m in resolve_imports(broken, package).missing} == {
        "vllm_omni.diffusion.distributed.cfg_parallel.CFGParallelMixture"
    }


@pytest.mark.skipif(importlib.util.find_spec("diffusers") is None, reason="diffusers is not installed")
def test_lazy_packages_tell_what_they_export():
    text = "from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler\nfrom diffusers.utils import logging\n"
    assert resolve_imports({"m.py": text}, None).resolved == 3
    assert resolve_imports({"m.py": "from diffusers import AutoencoderXYZ\n"}, None).missing


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
def test_names_that_transformers_serves_under_another_name():
    text = "from transformers import CLIPTextModel, T5TokenizerFast, T5EncoderModel\n"
    assert resolve_imports({"m.py": text}, None).resolved == 3
    result = resolve_imports({"m.py": "from transformers import NothingLikeItTokenizerFast\n"}, None)
    assert result.resolved == 0


def test_a_guarded_import_may_fail(package: Path):
    guarded = "try:\n    from nowhere.at_all import thing\nexcept ImportError:\n    thing = None\n"
    assert list(imports(guarded, "a/b.py")) == []
    swallowed = guarded.replace("ImportError", "ValueError")
    assert [entry[1:] for entry in imports(swallowed, "a/b.py")] == [("nowhere.at_all", "thing")]
