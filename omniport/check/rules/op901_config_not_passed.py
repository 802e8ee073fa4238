"""OP901: a transformer is built with the sizes of its defaults, whatever the checkpoint says."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.modules import layers
from omniport.check.port import Port
from omniport.check.source import SourceFile, has_star, keyword, method

#: parameters that are no part of a config
_FRAMEWORK = frozenset({"od_config", "prefix", "quant_config", "self"})


class ConfigNotPassed(Rule):
    """A transformer is built with the sizes of its defaults, whatever the checkpoint says.

    A pipeline builds a transformer of the port whose constructor has three or more config values with defaults, gives
    it none of them, and the transformer never reads ``tf_model_config``.

    Why: the next checkpoint of the family has other sizes, and its weights do not fit, or fit by accident with another
    patch size or RoPE.  #633, #1485, #1711, #1934 and #5239 corrected sizes that were written into merged ports.

    Fix: ``Transformer(od_config=od_config, **get_transformer_config_kwargs(od_config.tf_model_config, Transformer))``.
    """

    code = "OP901"
    name = "config-not-passed"
    VALID = (
        """
        class Transformer(nn.Module):
            _repeated_blocks = ["Block"]
            def __init__(self, od_config=None, num_layers=19, dim=64, heads=4, quant_config=None):
                self.blocks = build(num_layers, dim, heads)
        class Pipeline:
            def __init__(self, *, od_config):
                kwargs = get_transformer_config_kwargs(od_config.tf_model_config, Transformer)
                self.transformer = Transformer(od_config=od_config, **kwargs)
        """,
        """
        class Transformer(nn.Module):
            _repeated_blocks = ["Block"]
            def __init__(self, od_config, num_layers=19, dim=64, heads=4):
                num_layers = od_config.tf_model_config.num_layers
        class Pipeline:
            def __init__(self, *, od_config):
                self.transformer = Transformer(od_config)
        """,
    )
    INVALID = (
        """
        class Transformer(nn.Module):
            _repeated_blocks = ["Block"]
            def __init__(self, od_config=None, num_layers=19, dim=64, heads=4, quant_config=None):
                self.blocks = build(num_layers, dim, heads)
        class Pipeline:
            def __init__(self, *, od_config):
                self.transformer = Transformer(od_config=od_config, quant_config=od_config.quantization_config)
        """,
        """
        class Transformer(nn.Module):
            def __init__(self, num_layers=19, dim=64, heads=4):
                self.blocks = build(num_layers, dim, heads)
        class Pipeline:
            def __init__(self, *, od_config):
                self.transformer = Transformer()
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        transformers = {cls.name: (file, cls) for file, cls in port.transformers}
        for file in port.files:
            if not any(file.mentions(f"{name}(") for name in transformers):
                continue
            for cls in file.nodes(ast.ClassDef):
                for _, call in layers(cls):
                    found = transformers.get(call.func.id) if isinstance(call.func, ast.Name) else None
                    if found is not None and _ignores_config(*found, call):
                        yield self.at(file, call, f"{found[1].name} keeps its default sizes: no config value is passed")


def _ignores_config(file: SourceFile, cls: ast.ClassDef, call: ast.Call) -> bool:
    init = method(cls, "__init__")
    if init is None or has_star(call) or "tf_model_config" in file.lines_of(init):
        return False
    args = [*init.args.args[len(init.args.args) - len(init.args.defaults) :], *init.args.kwonlyargs]
    values = {a.arg for a in args} - _FRAMEWORK
    given = [a.arg for a in init.args.args[1 : len(call.args) + 1]]
    return len(values) >= 3 and not any(keyword(call, name) is not None or name in given for name in values)
