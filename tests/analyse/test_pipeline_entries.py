"""What runs a component of a pipeline elsewhere than by its forward."""

from __future__ import annotations

import ast
import textwrap

import pytest

from omniport.analyse.pipeline_entries import entered


def found(source: str, *components: str) -> dict[str, str]:
    methods = {m.name: m for m in ast.parse(textwrap.dedent(source)).body if isinstance(m, ast.FunctionDef)}
    return entered(methods, components or ("text_encoder",))


WHOLE = [
    "out = self.text_encoder(ids, output_hidden_states=True).hidden_states[-2]",
    "out = self.text_encoder.forward(ids)",
    "out = self.text_encoder.generate(**inputs, max_new_tokens=4)",
    "ids = ids.to(self.text_encoder.device, self.text_encoder.dtype)",
    "layers = self.text_encoder.config.num_hidden_layers\n    names = self.text_encoder.config.get('x')",
    "self.text_encoder.eval().to(device)",
    "handle = self.text_encoder.model.layers[-1].register_forward_hook(hook)\n    self.text_encoder(ids)",
    "encoder = self.text_encoder\n    out = encoder(ids)",
    "encoder = [self.text_encoder, self.other][at]\n    out = encoder(ids)",
    "out = self.vae.decode(latents)",
    "states = self.text_encoder(ids)\n    out = states.pick(0)",
]

PARTS = [
    ("out = self.text_encoder.encode(ids)", "self.text_encoder.encode"),
    ("out = self.text_encoder.get_image_features(x)[0]", "self.text_encoder.get_image_features"),
    ("out = self.text_encoder.model.visual(x)", "self.text_encoder.model.visual"),
    ("inner = self.text_encoder.language_model\n    out = inner.embed_tokens(ids)", "inner.embed_tokens"),
    ("for layer in self.text_encoder.layers:\n        x = layer(x)", "layer"),
    ("for at, layer in enumerate(self.text_encoder.layers):\n        x = layer(x)", "layer"),
    ("out = self.text_encoder.layers[0](x)", "self.text_encoder.layers[0]"),
    ("encoder = self.text_encoder if encoder is None else encoder\n    out = encoder.model(x)", "encoder.model"),
]


@pytest.mark.parametrize("body", WHOLE)
def test_forward_alone_is_no_entry(body: str) -> None:
    assert found(f"def encode(self, ids, at, device):\n    {body}\n") == {}


@pytest.mark.parametrize(("body", "call"), PARTS)
def test_part_that_runs_is_an_entry(body: str, call: str) -> None:
    assert found(f"def encode(self, ids, x, encoder=None):\n    {body}\n") == {"text_encoder": call}


def test_model_is_followed_through_methods() -> None:
    source = """
    def encode(self, ids):
        return self._run(self.text_encoder, ids=ids)
    def _run(encoder, ids):
        return self._deeper(ids, inner=encoder.language_model)
    def _deeper(self, ids, inner):
        return inner(ids)
    """
    assert found(source) == {"text_encoder": "inner"}


def test_methods_that_call_each_other_end() -> None:
    source = """
    def one(self, encoder):
        return self.two(encoder)
    def two(self, encoder):
        return self.one(encoder)
    def start(self):
        return self.one(self.text_encoder)
    """
    assert found(source) == {}


def test_a_method_that_gets_another_model_is_no_entry_of_this_one() -> None:
    source = """
    def encode(self, ids):
        self._run(self.image_encoder.vision_model, ids)
        return self.text_encoder(ids)
    def _run(self, encoder, ids):
        return encoder(ids)
    """
    assert found(source, "text_encoder", "image_encoder") == {"image_encoder": "encoder"}
