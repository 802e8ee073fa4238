"""Which classes the corpus is made of: the denoising transformers of diffusers."""

from __future__ import annotations

import ast

from omniport.source.tree import SourceTree

FOLDER = "models/transformers"

OUT_OF_SCOPE = {
    "Transformer2DModel": "a block of UNets",
    "DreamLiteTransformer2DModel": "a block of UNets",
    "TransformerTemporalModel": "a block of UNets",
    "PriorTransformer": "the prior of unCLIP, which predicts one embedding",
    "T5FilmDecoder": "a spectrogram decoder",
    "MiniMaxMusic3RVQDepthDecoder": "autoregressive, no denoising step",
}


def corpus_classes(tree: SourceTree) -> dict[str, str]:
    """Class name -> file below the package, sorted by class name, of every ``ModelMixin`` in scope."""
    found: dict[str, str] = {}
    for file in sorted((tree.root / FOLDER).glob("*.py")):
        for node in ast.parse(file.read_text("utf-8")).body:
            if (
                isinstance(node, ast.ClassDef)
                and node.name not in OUT_OF_SCOPE
                and any(ast.unparse(base).rpartition(".")[2] == "ModelMixin" for base in node.bases)
            ):
                found[node.name] = f"{FOLDER}/{file.name}"
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))
