"""Attributes that only the constructor knows go; what may be read, or whose making does something, stays."""

from __future__ import annotations

import pytest

from omniport.rewrite.pipeline.unread_attributes import without_unread_attributes
from tests.pipeline.helpers import block, text

PIPELINE = """
def __init__(self, *, od_config, prefix=""):
    super().__init__()
    self.od_config = od_config
    self.device = get_local_device()
    self.vae = AutoencoderKL.from_pretrained(model).to(self.device)

    self.vae_scale_factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
    # for the tokenizer
    self.tokenizer_max_length = self.tokenizer.model_max_length
    self.default_sample_size = 128
    self.default_size = self.default_sample_size * 8
    self.end()

def forward(self, req):
    return self.vae.decode(req) * self.vae_scale_factor
"""
GONE = ("tokenizer_max_length", "default_sample_size", "default_size", "# for the tokenizer")


def written(source: str, **options: tuple[str, ...]) -> str:
    return text(without_unread_attributes(block(source), **options))  # type: ignore[arg-type]


def test_what_nothing_reads_goes_and_what_only_that_read() -> None:
    new = written(PIPELINE)
    assert not any(name in new for name in GONE)
    for kept in ("self.od_config = od_config", "self.device = get", "self.vae = Auto", "self.vae_scale_factor = 2"):
        assert kept in new
    assert new.endswith("self.vae_scale_factor\n")


SETTING = """
def __init__(self, *, od_config, prefix=""):
    pretrained = {{"revision": od_config.revision}}
    model_index = get_hf_file_to_dict("model_index.json", model) or {{}}
    length = model_index.get("length", 2048)
    self.length = length
    {more}

def forward(self, req):
    return req
"""


def test_a_setting_that_only_went_to_such_an_attribute_is_not_asked_for() -> None:
    new = written(SETTING.format(more="self.end()"))
    assert "length" not in new and "model_index" not in new
    assert "pretrained = " in new  # read by no line that is gone


@pytest.mark.parametrize("more", ["self.encoder = Encoder(length)", "length = check(length)"])
def test_a_setting_with_another_use_stays(more: str) -> None:
    new = written(SETTING.format(more=more))
    assert 'length = model_index.get("length", 2048)' in new and "self.length" not in new and more in new


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return self", "self.g(self.tokenizer_max_length)\n    return self"),
        ("return self", "getattr(self, 'tokenizer_max_length')\n    return self"),
        ("return self", "getattr(self, name)\n    return self"),
        ("return self", "vars(self)\n    return self"),
        ("self.tokenizer.model_max_length", "self.tokenizer.measure()"),
        ("self.tokenizer_max_length = self", "self.tokenizer_max_length = length = self"),
        ("    self.end()", "    self.tokenizer_max_length += 1"),
        ("    self.end()", "    self.end(self.tokenizer_max_length)"),
        ("    self.end()", "    if self.end():\n        self.tokenizer_max_length = 7"),
    ],
)
def test_what_may_be_read_stays(old: str, new: str) -> None:
    assert old in PIPELINE
    assert "self.tokenizer_max_length = " in written(PIPELINE.replace(old, new, 1))


def test_a_component_stays_and_what_is_read_by_the_name_of_the_class() -> None:
    source = PIPELINE.replace("self.default_size =", "self.image_encoder =").replace(
        "return self", "P.limit\n    return self"
    )
    source = source.replace("self.tokenizer_max_length", "self.limit")
    new = written(source, kept=("image_encoder",), owners=("self", "P"))
    assert "self.image_encoder = " in new and "self.limit = " in new and "self.default_sample_size = 128" in new


def test_nothing_changes_where_everything_is_read() -> None:
    source = block("def __init__(self):\n    self.a = 1\n\ndef f(self):\n    return self.a\n")
    new = without_unread_attributes(source)  # type: ignore[arg-type]
    assert all(a is b for a, b in zip(new, source, strict=True))
