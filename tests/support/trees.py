"""Small trees of our own that are laid out as vLLM-Omni's are: pages, tests, examples, recipes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from omniport.emit.edits import Context
from omniport.plan.model import ArgumentPlan, BlockListPlan, Decision, FeaturePlan, Why
from omniport.target.features import DEFAULT
from tests.support.ports import port_plan

WHY = Why("it is so")

FILES = {
    "vllm_omni/diffusion/registry.py": """\
_DIFFUSION_MODELS = {
    "OldPipeline": ("old", "pipeline_old", "OldPipeline"),
}
_DIFFUSION_POST_PROCESS_FUNCS = {
    "OldPipeline": "get_old",
}
_DIFFUSION_PRE_PROCESS_FUNCS = {}
_NO_CACHE_ACCELERATION = {
    # These cannot be cached.
    "OldPipeline",
}
""",
    "vllm_omni/diffusion/model_metadata.py": """\
_DIFFUSION_MODEL_METADATA: dict[str, DiffusionModelMetadata] = {
    "OldPipeline": DiffusionModelMetadata(
        final_output_type="video",
    )
}
""",
    "vllm_omni/diffusion/cache/cache_dit_backend.py": """\
CUSTOM_DIT_ENABLERS: dict[str, Callable] = {}


def enable_cache_for_old(pipeline: Any, cache_config: Any) -> Callable[[int], None]:
    return None


# Filled after the functions
CUSTOM_DIT_ENABLERS.update(
    {
        "OldPipeline": enable_cache_for_old,
    }
)
""",
    "docs/models/supported_models.md": """\
# Supported Models

```markdown
| Architecture | Models | Example HF Models |
|---|---|---|
| in code | is | none |
```

## List of Supported Models

| Architecture | Models | Example HF Models | NVIDIA GPU | Recipe |
|--------------|--------|-------------------|------------|--------|
| `OldPipeline` | Old \\| Older | `org/old` | \u2705 | [Repository](x.md) |
| `OtherPipeline` | Other | `org/other` | \u2705 | \u2014 |
Empty cells mean not listed.
""",
    "docs/user_guide/features.md": """\
# Features

| Method | Description |
|---|---|
| Cache-DiT | it caches |

## Supported Models

### ImageGen

| Model | \u26a1TeaCache | \u26a1Cache-DiT | SP (Ulysses & Ring) | CFG-Parallel | Tensor-Parallel | New-Thing |
|---|:---:|:---:|:---:|:---:|:---:|:---:|
| **Old** | \u2705 | \u2753 | \u274c | \u2705 (2 only) | \u2705 | \u274c |

### VideoGen

| Model | Model Identifier | Ulysses-SP | Tensor-Parallel | Expert-Parallel | HSDP |
|----------|-----------|----|----|-----|----|
| **Old**  | `org/old` | \u2705  | \u2705  | N/A | \u2705  |
| **Older** | `org/olde` | \u2705  | \u2705  | N/A | \u2705  |
""",
    "docs/user_guide/offload.md": """\
## Supported models

| Architecture | Example models | DiT class | Model-level | Layerwise | Layerwise block attributes |
| --- | --- | --- | :---: | :---: | --- |
| OldPipeline | `org/old` | `Old` | \u2014 | yes | `blocks` |

More text.
""",
    "examples/offline_inference/text_to_image/README.md": """\
### Supported Models

| Model | Image Shape | Peak VRAM (GiB) * |
| ----- | ----------- | ---- |
| `org/old` | 1024 x 1024 | 60.0 |
""",
    "examples/online_serving/text_to_image/README.md": "# Nothing to see\n",
    "recipes/README.md": """\
# Recipes

| Recipe | Task | Hardware |
| --- | --- | --- |
| [`Org/Old.md`](./Org/Old.md) | Text to image | 1x A100 |
""",
    "recipes/ToY/.keep": "",
    "tests/model_tests/diffusion/test_alignment.py": """\
EXCLUDED_MODELS = [
    "OldPipeline",
]
""",
    "tests/model_tests/diffusion/model_settings.py": 'DIFFUSION_TEST_SETTINGS = {"TestedPipeline": 1}\n',
    "tests/helpers/mark.py": "def hardware_marks(**kwargs): ...\ndef hardware_test(**kwargs): ...\n",
    "tests/helpers/runtime.py": """\
class OmniServerParams: ...
class OmniServer: ...
class OmniRunner: ...
class OpenAIClientHandler:
    def send_diffusion_request(self, config): ...
    def send_video_diffusion_request(self, config): ...
""",
    "tests/e2e/online_serving/__init__.py": "",
    "tests/e2e/offline_inference/__init__.py": "",
    "tests/diffusion/models/__init__.py": "",
}


def make_tree(root: Path, *, crlf: bool = False, **changes: str) -> Path:
    """The small tree at ``root``."""
    for name, text in {**FILES, **changes}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.replace("\n", "\r\n").encode() if crlf else text.encode())
    return root


def context(root: Path, *, output: str = "image", cache: bool = True, media: str = "", **values: Any) -> Context:
    """What edits of the small port are made from."""
    plan = port_plan()
    features = (
        FeaturePlan("cache-dit", cache, WHY),
        FeaturePlan("tensor parallelism", True, WHY),
        FeaturePlan("layerwise offload", True, WHY),
    )
    blocks = (BlockListPlan("blocks", "Block", 0, WHY), BlockListPlan("more_blocks", "Block", 3, WHY))
    transformer = dataclasses.replace(plan.transformer, features=features, blocks=blocks, parameters=("dim",))
    arguments = (
        ArgumentPlan("height", "params.height", "512", WHY),
        ArgumentPlan("width", "params.width", "768", WHY),
        ArgumentPlan("num_inference_steps", "params.num_inference_steps", "28", WHY),
    )
    decisions = (Decision("media", media, WHY),) if media else ()
    pipeline = dataclasses.replace(
        plan.pipeline, output=output, arguments=arguments, decisions=decisions, cfg="sequential"
    )
    changed = dataclasses.replace(plan, transformer=transformer, pipeline=pipeline)
    return Context(changed, root, **{"features": DEFAULT, "model_id": "toy/toy-dev", **values})
