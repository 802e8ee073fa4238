"""Load ports of a tree with vLLM-Omni's own loader: ``python -m tests.custom.load_runner JOB RESULT``.

JOB is JSON: the tree, and for each case the module, the class, the checkpoint and the tensors that must come out.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any


def run(case: dict[str, Any]) -> str:
    """``loaded`` if every parameter has the expected values, and ``equal`` outputs where they are compared."""
    import torch
    from safetensors.torch import load_file
    from vllm.config.load import LoadConfig
    from vllm_omni.diffusion.data import OmniDiffusionConfig
    from vllm_omni.diffusion.model_loader.diffusers_loader import DiffusersPipelineLoader

    config = OmniDiffusionConfig.from_kwargs(model=case["checkpoint"], dtype="float32", enforce_eager=True)
    config.enrich_config()
    pipeline = getattr(importlib.import_module(case["module"]), case["class"])(od_config=config)
    DiffusersPipelineLoader(LoadConfig(), config).load_weights(pipeline)
    expected = load_file(case["expected"])
    found = {k: v for k, v in pipeline.state_dict().items() if k in expected}
    wrong = [k for k in expected if k not in found or not torch.equal(found[k].float(), expected[k])]
    if wrong:
        return f"wrong: {', '.join(sorted(wrong))}"
    return f"loaded, {error(pipeline.transformer, case)}" if "original" in case else "loaded"


def error(port: Any, case: dict[str, Any]) -> str:
    """``equal``, or by how much the outputs of the loaded transformer differ from the original's."""
    import torch

    from omniport.corpus.custom_meta import original
    from omniport.verify.engine import finish_loading, relative_error

    net: Any = original(Path(case["root"]), *case["original"])(**case["arguments"])
    net.load_state_dict({name: value.float() for name, value in port.state_dict().items()})
    finish_loading(port)
    torch.manual_seed(3)
    inputs = [torch.randn(shape) for shape in case["inputs"]]
    with torch.no_grad():
        worst = max(map(relative_error, port(*inputs), net(*inputs)))
    return "equal" if worst <= 1e-5 else f"off by {worst:.1e}"


def main() -> None:
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    sys.path.insert(0, job["tree"])
    import torch

    from omniport.corpus.custom_meta import one_rank

    torch.set_num_threads(1)
    results = {}
    with one_rank():
        for name, case in job["cases"].items():
            try:
                results[name] = run(case)
            except Exception as error:
                results[name] = f"{type(error).__name__}: {error}"
    Path(sys.argv[2]).write_text(json.dumps(results), "utf-8")


if __name__ == "__main__":
    main()
