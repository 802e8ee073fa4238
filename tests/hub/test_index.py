from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniport.errors import OmniportError
from omniport.hub.index import Component, ModelIndex, read_index
from omniport.strict_json import read_object


def index(**entries: object) -> ModelIndex:
    value = {"_class_name": "APipeline", **entries}
    return read_index(read_object(json.dumps(value, indent=1).encode(), "model_index.json"))


@pytest.mark.parametrize(
    "value",
    [
        1,
        True,
        None,
        "x",
        {"0": "label"},
        [0.0, 0.206],
        ["a"],
        ["a", 1],
        [1, "a"],
        ["a", "b", "c"],
        ["a", "b", {}, 1],
        [],
        [["a", "b"], ["c", "d"]],
    ],
)
def test_settings(value: object) -> None:
    found = index(key=value)
    assert found.settings == {"key": value} and not found.components


@pytest.mark.parametrize("value", [[None, None], [None, "X"], [None, None, {"revision": None}]])
def test_left_out(value: object) -> None:
    found = index(key=value)
    assert found.components == {"key": None} and not found.settings


def test_components() -> None:
    found = index(
        transformer=["diffusers", "T"], own=["transformer_x", "X"], decoder=["stable_cascade", "StableCascadeUnet"]
    )
    assert found.components == {
        "transformer": Component("diffusers", "T"),
        "own": Component("transformer_x", "X"),
        "decoder": Component("stable_cascade", "StableCascadeUnet"),
    }
    assert found.place("transformer") == ("model_index.json", 3)
    assert not found.modular and found.custom_module is None


def test_modular() -> None:
    extra = {"type_hint": ["diffusers", "T"], "pretrained_model_name_or_path": "org/other", "revision": None}
    found = index(_blocks_class_name="Blocks", transformer=["diffusers", "T", extra], vae=[None, None, extra])
    assert found.modular
    assert found.components == {
        "transformer": Component("diffusers", "T", extra),
        "vae": Component("diffusers", "T", extra),
    }


def test_underscore_keys_are_neither() -> None:
    found = index(_name_or_path=["diffusers", "T"], _ignore_files=["a", "b"], _diffusers_version="0.30.0.dev0")
    assert not found.components and not found.settings
    assert found.diffusers_version == "0.30.0.dev0"
    assert found.data["_ignore_files"] == ["a", "b"]


def test_list_class_name_is_custom_code() -> None:
    found = index(_class_name=["pipeline", "StableMaterialsPipeline"])
    assert (found.pipeline_class, found.custom_module) == ("StableMaterialsPipeline", "pipeline")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"_class_name": None}, "no _class_name"),
        ({"_class_name": "a.b"}, "pipeline class 'a.b' is no class name"),
        ({"_class_name": "os; x"}, "is no class name"),
        ({"_class_name": ["../x", "X"]}, "pipeline module '../x' is no plain module name"),
        ({"_class_name": ["a", "b", "c"]}, "is no class name"),
        ({"_diffusers_version": 3}, "is no version"),
        ({"transformer": ["diffusers", None]}, "library 'diffusers' without a class"),
        ({"transformer": ["../../x", "T"]}, "library '../../x' is no plain name"),
        ({"transformer": ["os.path", "T"]}, "library 'os.path' is no plain name"),
        ({"transformer": ["__main__", "T"]}, "library '__main__' is no plain name"),
        ({"transformer": ["diffusers", "T()"]}, "class 'T\\(\\)' is no plain name"),
        ({"../x": ["diffusers", "T"]}, "'../x' is no plain component"),
        ({"a b": 1}, "'a b' is no plain component"),
        ({"vae": ["x", "Y"], "VAE": ["x", "Y"]}, "components vae and VAE have one folder"),
        ({"": 1}, "'' is no plain component"),
    ],
)
def test_refused(entries: dict[str, object], message: str) -> None:
    with pytest.raises(OmniportError, match=f"model_index.json:[0-9]+: .*{message}"):
        index(**entries)


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=8), st.lists(st.none() | st.text(max_size=6) | st.integers(), max_size=3), max_size=4
    )
)
def test_every_accepted_name_is_an_identifier(entries: dict[str, object]) -> None:
    try:
        found = index(**{key: value for key, value in entries.items() if key != "_class_name"})
    except OmniportError:
        return
    names = [*found.components, *found.settings]
    for entry in found.components.values():
        names += [entry.library, entry.class_name] if entry else []
    assert all(name.isidentifier() and name.isascii() for name in names)
