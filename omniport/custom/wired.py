"""The text of a fusion as a transformer of vLLM-Omni: its constructor hands on what the engine gives, and it loads."""

from __future__ import annotations

import re

import libcst as cst

from omniport.custom.transformer import CustomTransformer
from omniport.errors import UnsupportedError
from omniport.rewrite.layers import parameter
from omniport.rewrite.root import LOAD_PLAIN
from omniport.rewrite.syntax import method, self_attribute, statements, with_keywords

_IMPORTS = (
    "import torch",
    "from collections.abc import Iterable",
    "from vllm.model_executor.model_loader.weight_utils import default_weight_loader",
)
_NATIVE = (
    "from vllm.model_executor.layers.quantization import QuantizationConfig",
    "from vllm.model_executor.models.utils import maybe_prefix",
    "from vllm_omni.diffusion.data import OmniDiffusionConfig",
)
#: of denoisers whose parameters have other names than the checkpoint's: each takes its own part
_LOAD_PARTS = """
def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
    parts: dict[str, list[tuple[str, torch.Tensor]]] = {{name: [] for name in {names}}}
    tensors = {{k: v for k, v in self.state_dict(keep_vars=True).items() if k.partition(".")[0] not in parts}}
    missing, unexpected = set(tensors), []
    for name, weight in weights:
        head, _, rest = name.partition(".")
        if head in parts:
            parts[head].append((rest, weight))
        elif name in missing:
            missing.remove(name)
            default_weight_loader(tensors[name], weight)
        else:
            unexpected.append(name)
    if missing or unexpected:
        raise ValueError(f"checkpoint tensors missing: {{sorted(missing)}}; unexpected: {{sorted(unexpected)}}")
    loaded = set(tensors)
    for head, part in parts.items():
        loaded |= {{f"{{head}}.{{name}}" for name in getattr(self, head).load_weights(part)}}
    return loaded
"""


def rewrite(code: str, name: str, made: CustomTransformer, denoisers: tuple[str, ...]) -> str:
    """The module with the class ``name`` changed.

    Args:
        code: the module of the fusion.
        name: its class.
        made: the denoiser's port, which it builds.
        denoisers: the attributes that hold them.
    """
    changed = cst.parse_module(code).visit(_Class(name, made, denoisers))
    lines = changed.code.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("from __future__")) + 1
    wanted = [*_IMPORTS, *(_NATIVE if made.native else ())]
    lines[at:at] = [line for line in wanted if not re.search(rf"^{re.escape(line)}$", changed.code, re.M)]
    return "\n".join(lines) + "\n"


class _Class(cst.CSTTransformer):
    def __init__(self, name: str, made: CustomTransformer, denoisers: tuple[str, ...]) -> None:
        self._name = name
        self._made = made
        self._denoisers = denoisers

    def leave_Assign(self, original_node: cst.Assign, updated_node: cst.Assign) -> cst.Assign:
        attribute = self_attribute(updated_node.targets[0].target)
        call = updated_node.value
        built = isinstance(call, cst.Call) and isinstance(call.func, cst.Name)
        if not self._made.native or attribute not in self._denoisers or not built:
            return updated_node
        assert isinstance(call, cst.Call)
        prefix = f'maybe_prefix(prefix, "{attribute}")'
        given = [("od_config", "od_config"), ("quant_config", "quant_config"), ("prefix", prefix)]
        return updated_node.with_changes(value=with_keywords(call, given))

    def leave_ClassDef(self, original_node: cst.ClassDef, updated_node: cst.ClassDef) -> cst.ClassDef:
        if original_node.name.value != self._name:
            return updated_node
        if method(updated_node, "load_weights") is not None:
            raise UnsupportedError(f"{self._name} has a load_weights of its own")
        parts = _LOAD_PARTS.format(names=list(self._denoisers))
        body = [
            self._constructor(item) if isinstance(item, cst.FunctionDef) and item.name.value == "__init__" else item
            for item in updated_node.body.body
        ]
        body += statements((parts if self._made.plan.weights else LOAD_PLAIN).strip())
        return updated_node.with_changes(body=updated_node.body.with_changes(body=body))

    def _constructor(self, init: cst.FunctionDef) -> cst.FunctionDef:
        if not self._made.native:
            return init
        first, *params = init.params.params
        if not init.params.kwonly_params and all(param.default is not None for param in params):
            return init.with_changes(params=init.params.with_changes(params=[first, _OD_CONFIG, *params, *_LAST]))
        keywords = [*params, *init.params.kwonly_params, *_LAST]  # by name, from the repository's tables
        given = init.params.with_changes(params=[first, _OD_CONFIG], star_arg=cst.ParamStar(), kwonly_params=keywords)
        return init.with_changes(params=given)


_OD_CONFIG = parameter("od_config", "OmniDiffusionConfig | None", "None")
_LAST = (parameter("quant_config", "QuantizationConfig | None", "None"), parameter("prefix", "str", '""'))
