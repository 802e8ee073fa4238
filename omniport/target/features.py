"""What the API of a vLLM-Omni tree offers, probed flag by flag from its text, never from its version number.

A checkout between two releases can mix both, so each flag has its own probe, and each answer its own evidence.
"""

from __future__ import annotations

import ast
import dataclasses
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import field
from pathlib import Path

from omniport.errors import OmniportError
from omniport.plan.model import Decision, Scalar, Why
from omniport.records import dataclass
from omniport.source.outline import outline
from omniport.source.toplevel import Definitions


@dataclass(frozen=True)
class TargetFeatures:
    """The flags; each says that the tree has the thing, unless its comment says otherwise."""

    request_batch: bool  # forward(req: DiffusionRequestBatch) rather than OmniDiffusionRequest
    request_prompt_singular: bool  # OmniDiffusionRequest.prompt rather than .prompts (pre-process functions see it)
    guidance_none: bool  # an omitted guidance_scale is None, so that an explicit 0 can be told apart
    steps_none: bool  # an omitted num_inference_steps is None
    second_scale: bool  # guidance_scale_2_provided tells whether a request gives a second scale
    dummy_run: bool  # a request tells whether it is the warm-up's
    resolve_frames: bool  # resolve_video_num_frames
    post_process_params: bool  # the post-process function may take sampling_params
    post_process_payload: bool  # it returns {"payload": ..., "metadata": ...}
    progress_bar: bool  # ProgressBarMixin
    profiler: bool  # DiffusionPipelineProfilerMixin
    step_execution: bool  # SupportsStepExecution
    component_protocol: str  # SupportsComponentDiscovery, SupportsModuleOffload, or "" for neither
    resident_modules: bool  # its _resident_modules, which no offload moves
    cfg_mixin: bool  # CFGParallelMixin
    cfg_all_ranks: bool  # every CFG rank gets the combined noise
    cfg_generator: bool  # scheduler_step_maybe_with_cfg(generator=...)
    cfg_kwargs: bool  # predict_noise_maybe_with_cfg(kwargs=...)
    cfg_validity: bool  # the mixin holds check_cfg_parallel_validity
    sp_depth_gate: bool  # attention runs sharded only after a split_output hook
    sp_shard_group: bool  # several independently padded streams
    mask_sp_padding: bool  # parallel_config.mask_sp_padding
    attn_skip_sp: bool  # Attention(skip_sequence_parallel=...)
    attn_role: bool  # Attention(role=...)
    fa_cross_mask: bool  # key masks of cross attention work on the flash backend
    local_attention: bool  # Attention._run_local_attention, which a subclass may send to its sdpa_fallback
    hsdp: bool
    hsdp_utils: bool  # is_transformer_block_module
    hsdp_ignored: bool  # _hsdp_ignored_modules
    hsdp_preserve_dtypes: bool  # _hsdp_preserve_parameter_dtypes
    offload_attr: str  # "list": _layerwise_offload_blocks_attrs, "string": _layerwise_offload_blocks_attr, "": none
    prefetch: bool  # prefetch_subfolders
    prefetch_wrapper: bool  # from_pretrained_with_prefetch
    cachedit_api: str  # "package" and "file" declare CacheDiTAdapterConfig, "enabler" registers a function, "": none
    cachedit_module: str  # module CacheDiTAdapterConfig is imported from, "" without one
    has_no_cache_set: bool  # _NO_CACHE_ACCELERATION
    plugin_register: bool  # register_diffusion_model
    register_arguments: tuple[str, ...]  # its parameters
    model_metadata: bool  # _DIFFUSION_MODEL_METADATA
    final_output_type: bool  # its field final_output_type
    model_extras: bool
    norm_layers: bool  # diffusion.layers.norm
    adaln_scale_shift: bool  # AdaLayerNorm.forward(x, scale, shift)
    qk_rope: bool  # layers.fused_qk_rope, one kernel for the rotation of query and key
    pipeline_parallel: bool  # PipelineParallelMixin
    gate_kernel: bool  # layers.indexed_modulation.indexed_gate, one kernel for a gated residual
    vae_pp_mixin: bool  # DistributedVaeMixin
    distributed_vaes: tuple[str, ...]  # VAE classes that decode in patches over several ranks
    quantization: bool  # vllm_omni.quantization
    safe_quant: bool  # safe_quant_config
    spdx_license: str  # comment line
    spdx_text: str  # comment line of a new file


@dataclass
class _Text:
    """Files of the package, read once."""

    package: Path
    _read: dict[str, str | None] = field(default_factory=dict)
    _defined: dict[tuple[str, str], Definitions] = field(default_factory=dict)

    def __call__(self, file: str) -> str | None:
        if file not in self._read:
            path = self.package / file
            self._read[file] = path.read_text("utf-8", errors="replace") if path.is_file() else None
        return self._read[file]

    def defined(self, file: str, cls: str = "") -> Definitions:
        """What the file defines, or a class in it; nothing where there is none.

        Raises:
            KeyError: there is no such class.
            OmniportError: its head does not parse.
        """
        if (file, cls) not in self._defined:
            module = Definitions((self(file) or "").removeprefix("\ufeff"), file) if not cls else self.defined(file)
            self._defined[file, cls] = outline(module, cls).members if cls else module
        return self._defined[file, cls]

    def name(self, file: str) -> str:
        """The file's path as evidence names it."""
        return f"{self.package.name}/{file}"


_Answer = tuple[Scalar, Why]
_Probe = Callable[[_Text], _Answer]


def _exists(file: str) -> _Probe:
    def probe(text: _Text) -> _Answer:
        there = (text.package / file).exists()
        return there, Why(f"{file} {'exists' if there else 'does not exist'}", text.name(file) if there else "")

    return probe


def _matches(file: str, pattern: str) -> _Probe:
    """Whether a line of ``file`` matches ``pattern``."""

    def probe(text: _Text) -> _Answer:
        content = text(file)
        if content is None:
            return False, Why(f"{file} does not exist")
        if found := re.search(pattern, content, re.M):
            line = content.count("\n", 0, found.start()) + 1
            return True, Why(f"the line has {found.group().strip()!r}", text.name(file), line)
        return False, Why(f"nothing in it matches {pattern!r}", text.name(file))

    return probe


def _parameters(text: _Text, file: str, qualified: str) -> tuple[tuple[str, ...], int]:
    """Parameter names of function ``name`` or ``Class.name`` and its line; empty and 0 where there is none."""
    cls, _, name = qualified.rpartition(".")
    try:
        node = text.defined(file, cls).get(name)
    except (KeyError, OmniportError):
        return (), 0
    if not isinstance(node, ast.FunctionDef):
        return (), 0
    args = node.args
    return tuple(a.arg for a in (*args.posonlyargs, *args.args, *args.kwonlyargs)), node.lineno


def _parameter(file: str, function: str, name: str) -> _Probe:
    """Whether ``function`` takes a parameter ``name``."""

    def probe(text: _Text) -> _Answer:
        names, line = _parameters(text, file, function)
        if not line:
            return False, Why(f"{file} defines no {function}")
        has = name in names
        return has, Why(f"{function} takes {'a' if has else 'no'} parameter {name}", text.name(file), line)

    return probe


def _first(none: str, *choices: tuple[str, _Probe]) -> _Probe:
    """The value whose probe answers first; ``none`` if no probe does."""

    def probe(text: _Text) -> _Answer:
        for value, choice in choices:
            yes, why = choice(text)
            if yes:
                return value, why
        return none, Why("none of the known forms is there: " + ", ".join(value for value, _ in choices))

    return probe


_CFG = "diffusion/distributed/cfg_parallel.py"
_INTERFACE = "diffusion/models/interface.py"
_ATTENTION = "diffusion/attention/layer.py"
_REGISTRY = "diffusion/registry.py"
_AUTOENCODERS = "diffusion/distributed/autoencoders"
_CACHE = "diffusion/cache/cachedit/__init__.py"
_OLD_CACHE = "diffusion/cache/cache_dit_backend.py"
_DECLARATIVE = r"^class CacheDiTAdapterConfig\b"
_LAYERWISE = ("block_discovery", "layerwise_backend")
_OLD_LAYERWISE = ("offloader/layerwise_backend", "offload")

_PROBES: dict[str, _Probe] = {
    "request_batch": _matches("diffusion/worker/request_batch.py", r"^class DiffusionRequestBatch\b"),
    "request_prompt_singular": _matches("diffusion/request.py", r"^    prompt: "),
    "guidance_none": _matches("inputs/data.py", r"^    guidance_scale: float \| None = None"),
    "steps_none": _matches("inputs/data.py", r"^    num_inference_steps: int \| None"),
    "second_scale": _matches("inputs/data.py", r"^    guidance_scale_2_provided\b"),
    "dummy_run": _matches("diffusion/request.py", r"^    def is_dummy_run\b"),
    "resolve_frames": _matches("diffusion/request.py", r"^def resolve_video_num_frames\b"),
    "post_process_params": _matches("diffusion/diffusion_engine.py", r"_post_process_accepts_sampling_params\b"),
    "post_process_payload": _matches("diffusion/output_formatter.py", r"\"payload\""),
    "progress_bar": _matches("diffusion/models/progress_bar.py", r"^class ProgressBarMixin\b"),
    "profiler": _matches(
        "diffusion/profiler/diffusion_pipeline_profiler.py", r"^class DiffusionPipelineProfilerMixin\b"
    ),
    "step_execution": _matches(_INTERFACE, r"^class SupportsStepExecution\b"),
    "component_protocol": _first(
        "",
        ("SupportsComponentDiscovery", _matches(_INTERFACE, r"^class SupportsComponentDiscovery\b")),
        ("SupportsModuleOffload", _matches(_INTERFACE, r"^class SupportsModuleOffload\b")),
    ),
    "resident_modules": _matches(_INTERFACE, r"^    _resident_modules\b"),
    "cfg_mixin": _matches(_CFG, r"^class CFGParallelMixin\b"),
    "cfg_all_ranks": _parameter(_CFG, "CFGParallelMixin.combine_cfg_noise", "positive_noise_pred"),
    "cfg_generator": _parameter(_CFG, "CFGParallelMixin.scheduler_step_maybe_with_cfg", "generator"),
    "cfg_kwargs": _parameter(_CFG, "CFGParallelMixin.predict_noise_maybe_with_cfg", "kwargs"),
    "cfg_validity": _matches(_CFG, r"^    def check_cfg_parallel_validity\b"),
    "sp_depth_gate": _matches("diffusion/forward_context.py", r"_sp_shard_depth"),
    "sp_shard_group": _matches("diffusion/distributed/sp_plan.py", r"^    shard_group\b"),
    "mask_sp_padding": _matches("diffusion/data.py", r"mask_sp_padding"),
    "attn_skip_sp": _parameter(_ATTENTION, "Attention.__init__", "skip_sequence_parallel"),
    "attn_role": _parameter(_ATTENTION, "Attention.__init__", "role"),
    "local_attention": _matches("diffusion/attention/layer.py", r"def _run_local_attention\((?s:.)*sdpa_fallback"),
    "fa_cross_mask": _matches("diffusion/attention/backends/flash_attn.py", r"is_cross_attn"),
    "hsdp": _exists("diffusion/distributed/hsdp.py"),
    "hsdp_utils": _matches("diffusion/distributed/hsdp_utils.py", r"^def is_transformer_block_module\b"),
    "hsdp_ignored": _matches("diffusion/distributed/hsdp.py", r"_hsdp_ignored_modules"),
    "hsdp_preserve_dtypes": _matches("diffusion/distributed/hsdp.py", r"_hsdp_preserve_parameter_dtypes"),
    "offload_attr": _first(
        "",
        *(
            ("list", _matches(f"diffusion/offloader/{n}.py", r"\b_layerwise_offload_blocks_attrs\b"))
            for n in _LAYERWISE
        ),
        *(("string", _matches(f"diffusion/{n}.py", r"\b_layerwise_offload_blocks_attr\b")) for n in _OLD_LAYERWISE),
    ),
    "prefetch": _matches("diffusion/model_loader/hub_prefetch.py", r"^def prefetch_subfolders\b"),
    "prefetch_wrapper": _matches("diffusion/model_loader/hub_prefetch.py", r"^def from_pretrained_with_prefetch\b"),
    "cachedit_api": _first(
        "",
        ("package", _matches(_CACHE, r"\bCacheDiTAdapterConfig\b")),
        ("file", _matches(_OLD_CACHE, _DECLARATIVE)),
        ("enabler", _matches(_OLD_CACHE, r"^CUSTOM_DIT_ENABLERS\b")),
    ),
    "cachedit_module": _first(
        "",
        ("vllm_omni.diffusion.cache.cachedit", _matches(_CACHE, r"\bCacheDiTAdapterConfig\b")),
        ("vllm_omni.diffusion.cache.cache_dit_backend", _matches(_OLD_CACHE, _DECLARATIVE)),
    ),
    "has_no_cache_set": _matches(_REGISTRY, r"^_NO_CACHE_ACCELERATION\b"),
    "plugin_register": _matches(_REGISTRY, r"^def register_diffusion_model\b"),
    "model_metadata": _matches("diffusion/model_metadata.py", r"^_DIFFUSION_MODEL_METADATA\b"),
    "final_output_type": _matches("diffusion/model_metadata.py", r"^    final_output_type\b"),
    "model_extras": _exists("model_extras/registry.py"),
    "norm_layers": _exists("diffusion/layers/norm.py"),
    "qk_rope": _matches("diffusion/layers/fused_qk_rope.py", r"^def fused_qk_rope_supported"),
    "pipeline_parallel": _matches("diffusion/distributed/pipeline_parallel.py", r"^class PipelineParallelMixin\b"),
    "gate_kernel": _matches("diffusion/layers/indexed_modulation.py", r"^def indexed_gate\("),
    "adaln_scale_shift": _parameter("diffusion/layers/adalayernorm.py", "AdaLayerNorm.forward_native", "scale"),
    "vae_pp_mixin": _matches(
        "diffusion/distributed/autoencoders/distributed_vae_executor.py", r"^class DistributedVaeMixin\b"
    ),
    "quantization": _exists("quantization/__init__.py"),
    "safe_quant": _matches("quantization/component_config.py", r"^def safe_quant_config\b"),
}

_DEFAULT_LICENSE = "# SPDX-License-Identifier: Apache-2.0"
_DEFAULT_COPYRIGHT = "# SPDX-FileCopyrightText: Copyright contributors to the vLLM-Omni project"
_LICENSE = re.compile(r"# SPDX-License-Identifier: [\w.+ -]{1,60}")
_OWNER = re.compile(r"# SPDX-FileCopyrightText: [\w .,()&-]{1,100}")
_RENAMED = 20  # one file in so many carries the new line once the project has taken to it


def _spdx(text: _Text) -> tuple[str, str, Why]:
    """The SPDX lines of a new file.

    The project changed its copyright line from "vLLM project" to "vLLM-Omni project" for new files and kept it in old
    ones, so the new line counts as soon as it is in use; otherwise the most common line does.
    """
    lines = Counter(line for path in _sources(text.package / "diffusion") for line in _head(path))
    licenses = Counter({line: lines[line] for line in lines if _LICENSE.fullmatch(line)})
    owners = Counter({line: lines[line] for line in lines if _OWNER.fullmatch(line)})
    if not owners:
        return _DEFAULT_LICENSE, _DEFAULT_COPYRIGHT, Why("no file has SPDX lines")
    total = sum(owners.values())
    owner = _DEFAULT_COPYRIGHT
    if owners[owner] * _RENAMED < total:
        owner = owners.most_common(1)[0][0]
    why = Why(f"{owners[owner]} of {total} files have it", text.name("diffusion"))
    return (licenses.most_common(1)[0][0] if licenses else _DEFAULT_LICENSE), owner, why


def _sources(folder: Path | str) -> Iterator[str]:
    """The Python files below ``folder``, in the order of their names; none if there is no such folder."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _sources(entry.path)
        elif entry.name.endswith(".py"):
            yield entry.path


def _head(path: str) -> list[str]:
    """The first four lines of a file that speak of SPDX; a scaffold asks hundreds of files."""
    file = os.open(path, os.O_RDONLY)
    try:
        start = os.read(file, 4096)
    finally:
        os.close(file)
    return [line.decode("utf-8", "replace").rstrip() for line in start.splitlines()[:4] if b"SPDX" in line]


def _distributed_vaes(text: _Text) -> tuple[str, ...]:
    found: set[str] = set()
    for path in sorted((text.package / _AUTOENCODERS).glob("autoencoder*.py")):
        found.update(re.findall(r"^class (Distributed\w+)", path.read_text("utf-8", errors="replace"), re.M))
    return tuple(sorted(found))


def probe(package: Path) -> tuple[TargetFeatures, tuple[Decision, ...]]:
    """Read the flags of the package folder ``vllm_omni``, with the evidence of each.

    Source of the probes: the places where the releases 0.14 to 0.30 differ.
    """
    text = _Text(package)
    answers = {name: ask(text) for name, ask in _PROBES.items()}
    evidence = [Decision(name, value, why) for name, (value, why) in answers.items()]
    values: dict[str, object] = {name: value for name, (value, _) in answers.items()}

    registers = values["plugin_register"]
    names, line = _parameters(text, _REGISTRY, "register_diffusion_model") if registers else ((), 0)
    vaes = _distributed_vaes(text)
    license_line, owner, why = _spdx(text)
    values.update(register_arguments=names, distributed_vaes=vaes, spdx_license=license_line, spdx_text=owner)
    evidence += [
        Decision("register_arguments", ", ".join(names), Why("its signature", text.name(_REGISTRY), line)),
        Decision("distributed_vaes", ", ".join(vaes), Why("classes there", text.name(_AUTOENCODERS))),
        Decision("spdx_license", license_line, why),
        Decision("spdx_text", owner, why),
    ]
    order = [f.name for f in dataclasses.fields(TargetFeatures)]
    return TargetFeatures(**values), tuple(sorted(evidence, key=lambda d: order.index(d.subject)))  # type: ignore[arg-type]


#: The newest known generation (0.30), for a plugin made where no vLLM-Omni is at hand.
DEFAULT = TargetFeatures(
    **dict.fromkeys(_PROBES, True),  # type: ignore[arg-type]
    register_arguments=(
        "model_arch",
        "module_name",
        "class_name",
        "pre_process_func_name",
        "post_process_func_name",
        "ir_op_priority_func_name",
        "action_post_process_func_name",
        "prefix_cache_func_name",
    ),
    distributed_vaes=(),
    spdx_license=_DEFAULT_LICENSE,
    spdx_text=_DEFAULT_COPYRIGHT,
)
DEFAULT = dataclasses.replace(
    DEFAULT,
    component_protocol="SupportsComponentDiscovery",
    offload_attr="list",
    cachedit_api="package",
    cachedit_module="vllm_omni.diffusion.cache.cachedit",
)
