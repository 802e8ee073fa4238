"""OP160: a key of model_index.json is looked for in od_config.model_config, where it never arrives."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import SourceFile, constant, last_name


class IndexKeyInModelConfig(Rule):
    """A key of ``model_index.json`` is looked for in ``od_config.model_config``, where it never arrives.

    ``od_config.model_config["key"]``, which fails unless a stage configuration sets the key, or ``.get("key")`` of a
    key that the port itself writes into an index.

    Why: of the index vllm-omni 0.30.0 keeps the class name alone; ``model_config`` holds what a stage configuration
    says and is ``{}`` without one (measured).  An older guide says otherwise; DreamID-Omni's later port moved its
    value to ``transformer/config.json``.

    Fix: put the value into ``transformer/config.json`` and read ``od_config.tf_model_config.get("key")``.
    """

    code = "OP160"
    name = "index-key-in-model-config"
    VALID = (
        """
        class Pipeline:
            def __init__(self, *, od_config):
                self.fusion = od_config.tf_model_config.get("fusion")
        """,
        """
        class Pipeline:
            def __init__(self, *, od_config):
                self.strict = od_config.model_config.get("strict", True)
        """,
        """
        class Pipeline:
            def __init__(self, *, od_config):
                od_config.model_config["resolved"] = True
        """,
    )
    INVALID = (
        """
        class Pipeline:
            def __init__(self, *, od_config):
                self.fusion = od_config.model_config["fusion"]
        """,
        """
        INDEX = {"_class_name": "Pipeline", "_diffusers_version": "0.40.0", "fusion": "fusion.safetensors"}
        class Pipeline:
            def __init__(self, *, od_config):
                self.fusion = od_config.model_config.get("fusion")
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        written = {key for file in port.files for key in _index_keys(file)}
        for file in port.files:
            if not file.mentions("model_config"):
                continue
            for found in file.nodes(ast.Subscript):
                key = constant(found.slice)
                if isinstance(key, str) and isinstance(found.ctx, ast.Load) and _is_config(found.value):
                    yield self.at(file, found, f"nothing puts {key!r} there unless a stage configuration has it")
            for call in file.nodes(ast.Call):
                func = call.func
                if isinstance(func, ast.Attribute) and func.attr == "get" and call.args and _is_config(func.value):
                    key = constant(call.args[0])
                    if key in written:
                        yield self.at(file, call, f"{key!r} of the index does not arrive in model_config")


def _is_config(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "model_config" and last_name(node.value) == "od_config"


def _index_keys(file: SourceFile) -> Iterator[object]:
    """Keys of dictionaries that have ``_class_name``: indexes that the port writes."""
    if file.mentions("_class_name"):
        for table in file.nodes(ast.Dict):
            keys = [constant(key) for key in table.keys if key is not None]
            if "_class_name" in keys:
                yield from (key for key in keys if isinstance(key, str) and not key.startswith("_"))
