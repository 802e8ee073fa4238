"""What the corpus is made of."""

from __future__ import annotations

from omniport.corpus.classes import OUT_OF_SCOPE, corpus_classes
from omniport.corpus.produce import port_name
from omniport.source.tree import SourceTree


def test_sixty_one_classes_are_in_scope(diffusers: SourceTree) -> None:
    classes = corpus_classes(diffusers)
    assert diffusers.version == "0.40.0" and len(classes) == 61
    assert list(classes) == sorted(classes, key=str.lower)
    assert not classes.keys() & OUT_OF_SCOPE.keys()
    assert classes["FluxTransformer2DModel"] == "models/transformers/transformer_flux.py"


def test_every_class_gets_a_folder_of_its_own_that_vllm_omni_does_not_have(diffusers: SourceTree) -> None:
    names = [port_name(file) for file in corpus_classes(diffusers).values()]
    assert len(set(names)) == len(names)
    assert all(name.startswith("corpus_") and name.isidentifier() for name in names)
    assert port_name("models/transformers/transformer_flux.py") == "corpus_flux"
