"""OP104: a declaration of modules that stay in float32, and nothing that keeps them there."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import SourceFile, class_attributes, last_name

DECLARATION = "_keep_in_fp32_modules"
HSDP = frozenset({"_hsdp_preserve_parameter_dtypes", "_hsdp_ignored_modules"})


class KeptPrecisionLost(Rule):
    """Modules are declared to stay in float32, and nothing keeps them there.

    ``_keep_in_fp32_modules`` is read by diffusers' ``from_pretrained``; vLLM-Omni constructs the model under the wanted
    default precision and never reads it, and HSDP casts what it gathers unless it is told otherwise.

    Why: time embedders, modulation tables and norms are computed in bfloat16 then, which moves the output of every step
    as far as all other rounding together; nothing fails.  Cosmos3 of vllm-omni 0.30.0 casts its time embedder back
    after loading and takes it out of HSDP for this reason.

    Fix: at the end of the constructor make the parameters under these names float32, and set
    ``_hsdp_preserve_parameter_dtypes = True`` beside ``_hsdp_shard_conditions``.
    """

    code = "OP104"
    name = "kept-precision-lost"
    VALID = (
        """
        class Transformer(nn.Module):
            _keep_in_fp32_modules = ["norm1"]
            _hsdp_preserve_parameter_dtypes = True
            _hsdp_shard_conditions = [is_block]
            def __init__(self):
                for name, parameter in self.named_parameters():
                    if not set(self._keep_in_fp32_modules).isdisjoint(name.split(".")):
                        parameter.data = parameter.data.float()
        """,
        """
        class Transformer(ModelMixin, ConfigMixin):
            _keep_in_fp32_modules = ["norm1"]
        """,
        """
        class Transformer(nn.Module):
            _hsdp_ignored_modules = ["time_embedder"]
            _hsdp_shard_conditions = [is_block]
            def post_load_weights(self):
                self.time_embedder.to(torch.float32)
        """,
    )
    INVALID = (
        """
        class Transformer(nn.Module):
            _keep_in_fp32_modules = ["norm1"]
            def __init__(self):
                self.norm1 = nn.LayerNorm(4)
        """,
        """
        class Transformer(nn.Module):
            _keep_in_fp32_modules = ["norm1"]
            _hsdp_shard_conditions = [is_block]
            def __init__(self):
                keep_in_fp32(self, self._keep_in_fp32_modules)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions(DECLARATION):
                continue
            for cls in file.classes.values():
                declared = class_attributes(cls)
                # diffusers' ModelMixin reads the declaration in its own loader and in its own ``to``
                if DECLARATION not in declared or any(last_name(base) == "ModelMixin" for base in cls.bases):
                    continue
                if not _read(file):
                    yield self.at(file, declared[DECLARATION] or cls, f"nothing reads {DECLARATION}")
                if "_hsdp_shard_conditions" in declared and not HSDP & declared.keys():
                    yield self.at(file, declared[DECLARATION] or cls, "HSDP casts these modules with the others")


def _read(file: SourceFile) -> bool:
    return any(isinstance(node.ctx, ast.Load) and node.attr == DECLARATION for node in file.nodes(ast.Attribute))
