"""Build an original class and its port at toy width, compare their tensors and outputs; runs foreign code.

Started by :mod:`omniport.corpus.custom` in a process of its own.  Packages on the way to the original's file are
entered without running their ``__init__``, which often import a whole training stack.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any


def original(root: Path, file: str, name: str) -> type:
    """The class ``name`` of ``file`` below ``root``."""
    sys.path.insert(0, str(root))
    parts = Path(file).with_suffix("").parts
    for end in range(1, len(parts)):
        package = types.ModuleType(".".join(parts[:end]))
        package.__path__ = [str(root.joinpath(*parts[:end]))]
        sys.modules[package.__name__] = package
    found = getattr(importlib.import_module(".".join(parts)), name)
    assert isinstance(found, type)
    return found


class Stubs(MetaPathFinder, Loader):
    """Answers imports of named packages that are not installed with modules whose every attribute is a class.

    Only the named ones: diffusers and transformers ask what is installed, and must not be misled.
    """

    def __init__(self, names: list[str]) -> None:
        self.names = frozenset(names)

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if fullname.split(".")[0] in self.names else None

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        class Stub(types.ModuleType):
            def __getattr__(self, name: str) -> type:
                if name.startswith("__"):
                    raise AttributeError(name)
                return type(name, (), {})

        return Stub(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


@contextmanager
def one_rank() -> Iterator[None]:
    """vLLM-Omni's worker of a single rank, without a model: groups and contexts as parallel layers ask for."""
    from vllm_omni.diffusion.data import OmniDiffusionConfig

    from omniport.verify.engine import bare_worker
    from omniport.verify.forks import Rank, reserve_port

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "model_index.json").write_text('{"_class_name": "FluxPipeline"}', "utf-8")
        config = OmniDiffusionConfig.from_kwargs(model=folder, dtype="float32", enforce_eager=True)
        port, mark = reserve_port()
        config.master_port = port
        with mark, bare_worker(config, Rank(0, 1, port)):
            yield


def tensors(module: object) -> dict[str, list[int]]:
    """Names and shapes of a state dict."""
    return {key: list(value.shape) for key, value in module.state_dict().items()}  # type: ignore[attr-defined]


def main() -> None:
    given = json.loads(sys.argv[1])
    sys.path.append(given["extras"])
    sys.path.insert(0, given["tree"])
    import torch
    import transformers

    scope = {"Phi3Config": transformers.Phi3Config, "torch": torch}
    sys.meta_path.append(Stubs(given["stubs"]))
    for name, text in given["shims"].items():
        shim = sys.modules[name] = types.ModuleType(name)
        shim.__spec__ = ModuleSpec(name, None)  # transformers asks for it
        exec(text, shim.__dict__)  # our own table
    module = importlib.import_module(f"vllm_omni.diffusion.models.{given['name']}.{given['name']}_transformer")
    reference = original(Path(given["root"]), given["file"], given["class"])
    arguments = eval(given["arguments"], scope)  # our own table
    theirs_module = sys.modules[reference.__module__]
    for name, text in given["kernels"].items():
        assert hasattr(theirs_module, name)
        exec(text, kernels := {"torch": torch})  # our own table
        setattr(theirs_module, name, kernels[name])
    net = reference(**arguments).eval()
    theirs = tensors(net)
    error, failed = None, ""
    with one_rank():
        port = getattr(module, given["class"])(**arguments).eval()
        ours = _unfused(port)
        if given["inputs"] and ours == theirs:
            try:
                error = relative(net, port, lambda: eval(given["inputs"], {**scope, "randn": torch.randn}))
            except Exception as raised:
                failed = str(raised)
    lines = [f"missing {k}" for k in sorted(theirs.keys() - ours.keys())]
    lines += [f"surplus {k}" for k in sorted(ours.keys() - theirs.keys())]
    lines += [f"shape of {k}" for k in sorted(theirs.keys() & ours.keys()) if theirs[k] != ours[k]]
    answer = {"reason": "; ".join(lines[:5]), "tensors": len(theirs), "error": error, "failed": failed}
    Path(sys.argv[2]).write_text(json.dumps(answer), "utf-8")


def relative(net: Any, port: Any, inputs: Callable[[], dict[str, Any]]) -> float:
    """Relative error of the port's outputs, all parameters of both redrawn and given through ``load_weights``."""
    import torch

    from omniport.verify.engine import finish_loading, relative_error

    torch.manual_seed(1)
    for parameter in net.parameters():
        parameter.data = torch.randn_like(parameter) * 0.2 + (0.5 if parameter.ndim == 1 else 0.0)
    port.load_weights(iter(net.state_dict().items()))
    finish_loading(port)
    found = []
    for whose, model in (("original", net), ("port", port)):
        torch.manual_seed(2)
        try:
            with torch.no_grad():
                output = model(**inputs())
        except Exception as raised:
            raise RuntimeError(f"the {whose} does not run here: {type(raised).__name__}: {raised}") from raised
        found.append(torch.cat([each.flatten() for each in _flat(output)]))
    return relative_error(found[1], found[0])


def _flat(output: Any) -> list[Any]:
    """Every tensor of an output."""
    if isinstance(output, list | tuple):
        return [tensor for each in output for tensor in _flat(each)]
    return [output]


def _unfused(port: object) -> dict[str, list[int]]:
    """The port's tensors under the checkpoint's names: fused ones as their parts."""
    found = tensors(port)
    for fused, part, _ in getattr(port, "stacked_params_mapping", ()):
        for key in [k for k in found if f"{fused}." in k]:
            parts = [p for f, p, _ in port.stacked_params_mapping if f == fused]  # type: ignore[attr-defined]
            shape = found[key]
            found[key.replace(f"{fused}.", f"{part}.")] = [shape[0] // len(parts), *shape[1:]]
    fused_names = {fused for fused, _, _ in getattr(port, "stacked_params_mapping", ())}
    return {k: v for k, v in found.items() if not any(f"{f}." in k for f in fused_names)}


if __name__ == "__main__":
    main()
