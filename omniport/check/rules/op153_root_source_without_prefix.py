"""OP153: a source without prefix makes the loader expect components that are loaded elsewhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.modules import assigned, is_loaded_model
from omniport.check.port import Port
from omniport.check.source import constant, has_star, keyword
from omniport.check.weights import records_all, sources


class RootSourceWithoutPrefix(Rule):
    """A source without ``prefix`` makes the loader expect components that are loaded elsewhere.

    A ``ComponentSource`` has no ``prefix``, or an empty one, in a class that fills modules of its own with
    ``from_pretrained``.

    Why: the prefix says which parameters the source must fill.  Without it these are all parameters of the pipeline,
    and a VAE or text encoder that ``from_pretrained`` has filled is reported as not initialised: a ValueError at
    start-up (measured on vllm-omni 0.30.0).

    Fix: ``prefix="transformer."``, the attribute that the source fills, with the dot.
    """

    code = "OP153"
    name = "root-source-without-prefix"
    VALID = (
        """
        class Pipeline:
            def __init__(self, model):
                self.weights_sources = [ComponentSource(model, subfolder=None, revision=None, prefix="transformer.")]
                self.vae = AutoencoderKL.from_pretrained(model, subfolder="vae")
        """,
        """
        class Pipeline:
            def __init__(self, model):
                self.weights_sources = [ComponentSource(model, subfolder=None, revision=None, prefix="")]
                self.tokenizer = AutoTokenizer.from_pretrained(model)
                self.model = Model()
        """,
    )
    INVALID = (
        """
        class Pipeline:
            def __init__(self, model):
                self.weights_sources = [ComponentSource(model, subfolder=None, revision=None, prefix="")]
                self.vae = AutoencoderKL.from_pretrained(model, subfolder="vae")
        """,
        """
        class Pipeline:
            def __init__(self, model):
                self.weights_sources = [ComponentSource(model_or_path=model, subfolder="transformer", revision=None)]
                self.text_encoder = T5EncoderModel.from_pretrained(model, subfolder="text_encoder").to("cpu")
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("ComponentSource"):
                continue
            for cls in file.nodes(ast.ClassDef):
                loaded = [name for name, value in assigned(cls) if is_loaded_model(value)]
                if not loaded or records_all(cls):
                    continue
                for call in sources(cls):
                    prefix = keyword(call, "prefix") or (call.args[3] if len(call.args) > 3 else None)
                    if not has_star(call) and (prefix is None or constant(prefix) == ""):
                        names = ", ".join(dict.fromkeys(loaded))
                        yield self.at(file, call, f"without a prefix the loader also expects {names} from this source")
