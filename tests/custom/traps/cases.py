"""The loading traps of models with their own code: a pipeline that falls into each, and its sound twin.

The text of a case is run by vLLM-Omni's own loader (:mod:`tests.custom.traps.runner`) and read by the rule that must
find it, so that a rule cannot drift away from what really happens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

HEAD = """
import os
import torch
from safetensors.torch import load_file
from torch import nn
from vllm_omni.diffusion.model_loader.diffusers_loader import DiffusersPipelineLoader
"""
INDEX = {"_class_name": "ExamplePipeline", "_diffusers_version": "0.40.0"}

#: a denoiser, an autoencoder that loads itself, and a pipeline with ``SOURCES``, ``EXTRA`` and ``RETURN`` left open
PIPELINE = """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(2, 2, bias=False)


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(2, 2, bias=False)

    @classmethod
    def from_pretrained(cls, path):
        return cls()


class ExamplePipeline(nn.Module):
    def __init__(self, *, od_config):
        super().__init__()
        self.weights_sources = [SOURCES]
        self.model = Model()
        EXTRA

    def load_weights(self, weights):
        loaded = set()
        for name, tensor in weights:
            self.get_parameter(name).data.copy_(tensor)
            loaded.add(name)
        return RETURN
"""

FUSED = """
class Model(nn.Module):
    MAPPING = [("to_qkv", "to_q", 0), ("to_qkv", "to_k", 1), ("to_qkv", "to_v", 2)]

    def __init__(self):
        super().__init__()
        self.to_qkv = nn.Linear(2, 6, bias=False)
        self.to_qkv.weight.weight_loader = lambda p, tensor, shard: p.data[2 * shard : 2 * shard + 2].copy_(tensor)

    def load_weights(self, weights):
        params, loaded, filled = dict(self.named_parameters()), set(), set()
        for name, tensor in weights:
            for fused, part, shard in self.MAPPING:
                if part in name:
                    name = name.replace(part, fused)
                    params[name].weight_loader(params[name], tensor, shard)
                    RECORD
                    break
            loaded.add(name)
        RESULT
        return loaded


class ExamplePipeline(nn.Module):
    def __init__(self, *, od_config):
        super().__init__()
        self.weights_sources = [
            DiffusersPipelineLoader.ComponentSource(od_config.model, subfolder=None, revision=None, prefix="model.")
        ]
        self.model = Model()

    def load_weights(self, weights):
        return {"model." + name for name in self.model.load_weights((n[6:], t) for n, t in weights)}
"""


@dataclass(frozen=True)
class Case:
    """``outcome`` is ``loaded`` or a pattern of the error; ``facts`` are values of the loaded pipeline or config.

    ``files`` maps a path of the checkpoint to the values of its tensors (a number each), to JSON or to text.
    """

    rule: str
    name: str
    text: str
    outcome: str
    files: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    found: bool = True  # whether the rule must report it
    step: str = "load"  # or "config": stop at the configuration; "registry": at the class


def source(rest: str = "", prefix: str = '"model."', subfolder: str = "None") -> str:
    return (
        f"DiffusersPipelineLoader.ComponentSource(od_config.model, subfolder={subfolder}, revision=None, "
        f"prefix={prefix}{rest})"
    )


def pipeline(sources: str = "", extra: str = "pass", returned: str = "loaded") -> str:
    return HEAD + PIPELINE.replace("SOURCES", sources).replace("EXTRA", extra).replace("RETURN", returned)


def fused(record: str = "pass", result: str = "pass") -> str:
    return HEAD + FUSED.replace("RECORD", record).replace("RESULT", result)


ONE = {"model.safetensors": {"encoder.weight": 1.0}, "model_index.json": INDEX}
TWO = {
    "ema.safetensors": {"encoder.weight": 1.0},
    "zae.safetensors": {"encoder.weight": 2.0},
    "model_index.json": INDEX,
}
QKV = {f"to_{part}.weight": float(number) for number, part in enumerate("qkv", 1)}
HOLE = {"model.safetensors": {k: v for k, v in QKV.items() if "to_q" not in k}, "model_index.json": INDEX}
WHOLE = {"model.safetensors": QKV, "model_index.json": INDEX}
OWN_VAE = "self.vae = Autoencoder.from_pretrained(od_config.model)"
FROM_ROOT = 'self.vae.load_state_dict(load_file(os.path.join(od_config.model, "zae.safetensors")))'
OVERRIDE = ', allow_patterns_overrides=["{}"]'
COUNT = "if len(filled) != 3 * len(loaded):\n            raise ValueError(f'shards: {filled}')"
#: what is wrong with an index is not said: another file is looked for in its place
UNREADABLE = "ValueError: Could not find config.json or a Diffusers pipeline index"
KNOWN = {"model_class_name": "ExamplePipeline"}
UNINITIALISED = "ValueError: .*not initialized from checkpoint.*model.encoder.weight"

CASES = (
    # 1: without sources every parameter is expected, whatever is returned
    Case("OP151", "set", pipeline(returned="set()"), UNINITIALISED, {"model_index.json": INDEX}),
    Case("OP151", "none", pipeline(returned="None"), "loaded", {"model_index.json": INDEX}, found=False),
    # 2: a pickle cannot be read
    Case(
        "OP152", "pth_by_pattern", pipeline(source(OVERRIDE.format("model.pth"))), "header too large",
        {"model.pth": {"encoder.weight": 1.0}, "model_index.json": INDEX},
    ),
    Case(
        "OP152", "pth_not_looked_for", pipeline(source(", fall_back_to_pt=True")), "Cannot find any model weights",
        {"model.pth": {"encoder.weight": 1.0}, "model_index.json": INDEX}, found=False,
    ),
    Case(
        "OP152", "bin_alone", pipeline(source(OVERRIDE.format("model.bin"))), "header too large",
        {"model.bin": {"encoder.weight": 1.0}, "model_index.json": INDEX},
    ),
    Case(
        "OP152", "safetensors", pipeline(source(OVERRIDE.format("model.safetensors"))), "loaded", ONE,
        {"model.encoder.weight": 1.0}, found=False,
    ),
    # 3: a root source without prefix expects what is loaded elsewhere
    Case(
        "OP153", "no_prefix", pipeline(source(prefix='""'), OWN_VAE), r"not initialized from checkpoint.*vae\.encoder",
        {"model.safetensors": {"model.encoder.weight": 1.0}, "model_index.json": INDEX},
    ),
    Case("OP153", "prefix", pipeline(source(), OWN_VAE), "loaded", ONE, {"model.encoder.weight": 1.0}, found=False),
    # 4: several files in one stream replace each other's tensors
    Case("OP157", "whole_root", pipeline(source(), "self.vae = Autoencoder()\n        " + FROM_ROOT), "loaded", TWO,
         {"model.encoder.weight": (1.0, 2.0), "vae.encoder.weight": 2.0}),
    Case(
        "OP157", "two_patterns", pipeline(source(', allow_patterns_overrides=["ema.safetensors", "zae.safetensors"]')),
        "loaded", TWO, {"model.encoder.weight": 1.0},
    ),
    Case(
        "OP157", "one_source_each",
        pipeline(
            source(OVERRIDE.format("ema.safetensors")) + ", " + source(OVERRIDE.format("zae.safetensors"), '"vae."'),
            "self.vae = Autoencoder()",
        ),
        "loaded", TWO, {"model.encoder.weight": 1.0, "vae.encoder.weight": 2.0}, found=False,
    ),
    Case(
        "OP157", "two_indexes", pipeline(source()), "Multiple index files",
        ONE | {
            f"{stem}.safetensors.index.json": {"weight_map": {"encoder.weight": "model.safetensors"}}
            for stem in ("model", "diffusion_pytorch_model")
        },
        found=False,
    ),
    # 5: keys of the index do not arrive
    Case(
        "OP160", "index_key", pipeline(source(), 'self.fusion = od_config.model_config["fusion"]'),
        "KeyError: 'fusion'",
        ONE | {"model_index.json": INDEX | {"fusion": "f.safetensors"}},
    ),
    Case(
        "OP160", "transformer_config", pipeline(source(), 'self.fusion = od_config.tf_model_config.get("fusion")'),
        "loaded",
        ONE | {"transformer/config.json": {"_class_name": "Model", "fusion": "f.safetensors"},
               "model_index.json": INDEX | {"transformer": ["diffusers", "Model"]}},
        {"fusion": "f.safetensors"}, found=False,
    ),
    # 6: the class name is a key of the registry
    Case(
        "OP161", "list", 'INDEX = {"_class_name": ["pipeline", "ExamplePipeline"], "_diffusers_version": "0.40.0"}',
        "TypeError: unhashable type: 'list'",
        {"model_index.json": {"_class_name": ["pipeline", "ExamplePipeline"], "_diffusers_version": "0.40.0"}},
        step="config",
    ),
    Case(
        "OP161", "string", 'INDEX = {"_class_name": "ExamplePipeline", "_diffusers_version": "0.40.0"}', "loaded",
        {"model_index.json": INDEX}, KNOWN | {"is_diffusion_model": True}, False, "config",
    ),
    Case(
        "OP161", "no_version", 'def write(path):\n    (path / "model_index.json").write_text(json.dumps('
        '{"_class_name": "ExamplePipeline"}))', "loaded",
        {"model_index.json": {"_class_name": "ExamplePipeline"}}, KNOWN, True, "config",
    ),
    *(
        Case("OP161", name, "", outcome, files, facts, False, "config")
        for name, outcome, files, facts in (
            ("bom", UNREADABLE, {"model_index.json": "\ufeff{}"}, {}),
            ("trailing_comma", UNREADABLE, {"model_index.json": '{"_class_name": "ExamplePipeline",}'}, {}),
            ("empty", UNREADABLE, {"model_index.json": ""}, {}),
            ("twice", "loaded", {"model_index.json": '{"_class_name": "A", "_class_name": "B"}'},
             {"model_class_name": "B"}),
            ("both_indexes", "loaded",
             {"model_index.json": INDEX, "modular_model_index.json": INDEX | {"_class_name": "Other"}},
             KNOWN),
        )
    ),
    # 7: one architecture is taken for the pipeline, several are not
    Case(
        "OP162", "two", 'CONFIG = {"architectures": ["ExamplePipeline", "Model"]}', "FileNotFoundError",
        {"config.json": {"architectures": ["ExamplePipeline", "Model"]}}, step="config",
    ),
    Case(
        "OP162", "one", 'CONFIG = {"architectures": ["ExamplePipeline"]}', "loaded",
        {"config.json": {"architectures": ["ExamplePipeline"]}}, KNOWN, False, "config",
    ),
    # 8: modalities are three attributes of the class, and nothing else
    Case(
        "OP163", "unknown", HEAD + "class ExamplePipeline(nn.Module):\n    support_video_input = True\n", "loaded",
        {"model_index.json": INDEX}, {"inputs": [False, False], "audio": False}, True, "registry",
    ),
    Case(
        "OP163", "plain_attributes",
        HEAD + "class ExamplePipeline(nn.Module):\n    support_image_input = support_audio_output = True\n", "loaded",
        {"model_index.json": INDEX}, {"inputs": [True, False], "audio": True}, False, "registry",
    ),
    # 9: a hole in a fused parameter is not seen in a set of names
    Case("OP102", "names_only", fused(), "loaded", HOLE),
    Case("OP102", "shards", fused("filled.add((name, shard))", COUNT), "ValueError: shards", HOLE, found=False),
    Case("OP102", "shards_whole", fused("filled.add((name, shard))", COUNT), "loaded", WHOLE, found=False),
    # 11: the registry swallows what an import raises
    Case(
        "OP164", "absent", HEAD + "import absent_package\nclass ExamplePipeline(nn.Module):\n    pass\n",
        "no class", {"model_index.json": INDEX}, {}, True, "registry",
    ),
    Case(
        "OP164", "lazy",
        HEAD + "class ExamplePipeline(nn.Module):\n    def decode(self, x):\n        import absent_package\n", "loaded",
        {"model_index.json": INDEX}, {"inputs": [False, False], "audio": False}, False, "registry",
    ),
    Case(
        "OP158", "raises", HEAD + "try:\n    import absent_package\nexcept ImportError as error:\n"
        "    raise ImportError('pip install absent') from error\nclass ExamplePipeline(nn.Module):\n    pass\n",
        "no class", {"model_index.json": INDEX}, {}, True, "registry",
    ),
)  # fmt: skip
