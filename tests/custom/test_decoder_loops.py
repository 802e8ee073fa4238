"""Loops over the layers of a transformers model as the installed release has them; other forms stay a TODO."""

from __future__ import annotations

from pathlib import Path

import pytest

from omniport.custom.code import read_code
from omniport.custom.installed_loop import _read, loop_of
from omniport.custom.release import as_installed
from omniport.custom.slice import cut
from omniport.errors import UnsupportedError

pytestmark = pytest.mark.verify

OLD = """\
from torch import nn
from transformers import LlamaModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPast


class Tower(LlamaModel):
    def forward(
        self, attention_mask=None, position_ids=None, past_key_values=None, inputs_embeds=None, use_cache=None,
        output_attentions=None, output_hidden_states=None, return_dict=None, cache_position=None,
    ):
        output_attentions = output_attentions if output_attentions is not None else self.config.output_attentions
        return_legacy_cache = False
        if use_cache and not isinstance(past_key_values, Cache):
            return_legacy_cache = True
            if past_key_values is None:
                past_key_values = DynamicCache()
            else:
                past_key_values = DynamicCache.from_legacy_cache(past_key_values)
        x = inputs_embeds
        states = () if output_hidden_states else None
        weights = () if output_attentions else None
        cache = None
        for layer in self.layers:
            if output_hidden_states:
                states += (x,)
            if self.gradient_checkpointing and self.training:
                outputs = self._gradient_checkpointing_func(layer.__call__, x, attention_mask)
            else:
                outputs = layer(
                    x, attention_mask=attention_mask, position_ids=position_ids, past_key_value=past_key_values,
                    output_attentions=output_attentions, use_cache=use_cache, cache_position=cache_position,
                )
            x = outputs[0]
            if use_cache:
                cache = outputs[2 if output_attentions else 1]
            if output_attentions:
                weights += (outputs[1],)
        x = self.norm(x)
        if return_legacy_cache:
            cache = cache.to_legacy_cache()
        if not return_dict:
            return tuple(v for v in [x, cache, states, weights] if v is not None)
        return BaseModelOutputWithPast(last_hidden_state=x, past_key_values=cache, hidden_states=states,
                                       attentions=weights)


class Net(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.tower = Tower(config)

    def forward(self, x, mask, places):
        return self.tower(inputs_embeds=x, attention_mask=mask, position_ids=places).last_hidden_state
"""
CALL = "position_ids=position_ids, past_key_value=past_key_values,"


@pytest.fixture(autouse=True)
def transformers() -> None:
    pytest.importorskip("transformers")


def written(tmp_path: Path, text: str) -> tuple[str, list[str], list[str]]:
    """The text, the models whose loops are written anew, and the reasons of those that are not."""
    (tmp_path / "model.py").write_text(text)
    tree = read_code(tmp_path)
    found = cut(tree, tree.files[0], "Net")
    new, made, left = as_installed(found, "\n\n\n".join(piece.text for piece in found.pieces) + "\n")
    return new, [str(d.value) for d in made], [d.why.reason for d in left]


def test_the_loop_of_an_older_release(tmp_path: Path) -> None:
    text, made, left = written(tmp_path, OLD)
    assert (made, left) == (["Tower"], [])
    for gone in ("outputs", "weights", "states", "legacy", "training", "output_attentions", "return_dict", "cache_pos"):
        assert gone not in text.replace("last_hidden_states", "").replace("modeling_outputs", ""), gone
    assert "position_embeddings = self.rotary_emb(x, position_ids=position_ids)" in text
    assert "past_key_values=past_key_values" in text and "position_embeddings=position_embeddings" in text
    assert "BaseModelOutputWithPast(last_hidden_state=x, past_key_values=cache" in text


def test_it_gives_what_the_model_gives(tmp_path: Path) -> None:
    """A Llama of toy width, with the mask that its own forward would make; the twin turns the tables off."""
    import torch
    import transformers

    head = OLD[: OLD.index("class Tower")]
    text = head + written(tmp_path, OLD)[0]
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.LlamaConfig(**sizes, vocab_size=10)
    table = "self.rotary_emb(x, position_ids"
    assert table in text
    twin = text.replace(f"{table}=position_ids)", f"{table}=0 * position_ids)")
    x, places = torch.randn(2, 5, 32), torch.arange(5)[None]
    mask = torch.full((5, 5), torch.finfo(torch.float32).min).triu(1)[None, None]
    results = []
    for module in (text, twin):
        exec(module, scope := {})  # our own text
        torch.manual_seed(0)
        net = scope["Net"](config).eval()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.normal_(0, 0.3)
            own = transformers.LlamaModel.forward(net.tower, inputs_embeds=x, position_ids=places).last_hidden_state
            results.append((net(x, mask, places) - own).abs().max().item())
    assert results[0] < 1e-5 < 1e-3 < results[1]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("for layer in self.layers:", "for layer in self.layers[1:]:", "no single loop over self.layers"),
        (CALL, CALL + " scale=2,", "take no scale"),
        ("x = outputs[0]\n", "y = x\n            x = outputs[0]\n", "not the next that is done"),
        ("x = outputs[0]\n", "x = outputs[0]\n            x = x + outputs[3]\n", "more than a tuple"),
        (
            "            x = outputs[0]\n",
            "            x = outputs[0]\n            x = layer(x)\n",
            "more than called once",
        ),
        ("position_ids=places)", "position_ids=places, output_attentions=True)", "output_attentions is given"),
        (".last_hidden_state", ".attentions", "is read, which a layer may not return"),
        ("(LlamaModel)", "(BertModel)", "calls its layers in a way that is not known"),
        ("(LlamaModel)", "(NothingModel)", "has no NothingModel"),
        ("cache = cache.to_legacy_cache()", "cache = (1, cache.to_legacy_cache())", ""),
        (
            "cache = cache.to_legacy_cache()",
            "cache = cache.to_legacy_cache()\n            x = x + 1",
            "caches in tuples",
        ),
    ],
)
def test_other_forms_are_left(old: str, new: str, reason: str, tmp_path: Path) -> None:
    assert old in OLD
    text = OLD.replace(old, new).replace(
        "import LlamaModel", f"import LlamaModel{', ' + new[1:-1] if 'Model)' in new else ''}"
    )
    if reason:
        _, made, left = written(tmp_path, text)
        assert made == [] and len(left) == 1 and reason in left[0], left


def test_what_the_layers_need_now_must_be_at_hand(tmp_path: Path) -> None:
    text = OLD.replace("position_ids=None", "places=None").replace("position_ids=position_ids", "position_ids=places")
    assert text != OLD
    _, made, left = written(tmp_path, text.replace("position_ids=places)", "places=places)"))
    assert made == [] and "as position_embeddings is not known" in left[0]


def test_how_the_installed_release_calls_its_layers() -> None:
    loop = loop_of("LlamaModel")
    assert (loop.layers, loop.hidden) == ("layers", "hidden_states")
    assert set(loop.keywords) >= {"attention_mask", "position_embeddings", "past_key_values"}
    assert "self.rotary_emb" in loop.computed["position_embeddings"]
    with pytest.raises(UnsupportedError, match="has no Nothing"):
        loop_of("NothingModel")


@pytest.mark.parametrize(
    "body",
    [
        "for layer in self.layers:\n            x = layer(x)[0]",
        "for layer in self.layers:\n            x = layer(x, *args)",
        "for layer in self.layers:\n            y = layer(x)",
        "for layer in layers:\n            x = layer(x)",
        "for layer in self.layers:\n            x = layer(x)\n            x = x + 1",
        "pass",
    ],
)
def test_a_loop_that_is_not_understood(body: str) -> None:
    import ast

    node = ast.parse(f"class M:\n    def forward(self, x):\n        {body}\n        return x\n").body[0]
    assert isinstance(node, ast.ClassDef) and _read(node, "5") is None
