"""Build an original class or its port at toy width: its tensors and its outputs; runs foreign code.

Started by :mod:`omniport.corpus.custom` twice, for each side in a process of its own, so that neither the original's
packages nor what stands in for them can change the port.  The original redraws its parameters and leaves them, with
what it computes, to the port.  Packages on the way to the original's file are entered without running their
``__init__``, which often import a whole training stack.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import tempfile
import types
from collections.abc import Iterator
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
    given, folder = json.loads(sys.argv[2]), Path(sys.argv[3])
    sys.path.append(given["extras"])
    side = {"original": _original, "port": _port}[sys.argv[1]]
    Path(folder, f"{sys.argv[1]}.json").write_text(json.dumps(side(given, folder)), "utf-8")


@contextmanager
def _stand_ins(given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Modules of our own are in place; yields the names that the expressions of the table may use.

    They go afterwards: other packages ask what is installed, and must not be misled.
    """
    import torch
    import transformers

    sys.meta_path.append(Stubs(given["stubs"]))
    for name, text in given["shims"].items():
        shim = sys.modules[name] = types.ModuleType(name)
        shim.__spec__ = ModuleSpec(name, None)  # transformers asks for it
        shim.__path__ = []
        exec(text, shim.__dict__)  # our own table
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, shim)
    yield {"Phi3Config": transformers.Phi3Config, "torch": torch, "randn": torch.randn}
    for name in given["shims"]:
        del sys.modules[name]


def _replace(module: types.ModuleType, texts: dict[str, str]) -> None:
    """Put definitions of our own table in place of the module's of the same name."""
    import torch
    import transformers

    for name, text in texts.items():
        assert hasattr(module, name), f"{module.__name__} has no {name}"
        exec(text, found := {"torch": torch, "transformers": transformers})  # our own table
        setattr(module, name, found[name])


def _original(given: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Its tensors; where inputs are given, their redrawn values and what it computes are left in ``folder``."""
    sys.path.insert(0, given["pinned"])
    import torch

    with _stand_ins(given) as scope:
        kind = original(Path(given["root"]), given["file"], given["class"])
    _replace(sys.modules[kind.__module__], {**given["kernels"], **given["published"]})
    net: Any = kind(**eval(given["arguments"], scope)).eval()  # our own table
    failed = ""
    if given["inputs"]:
        torch.manual_seed(1)
        for parameter in net.parameters():
            parameter.data = torch.randn_like(parameter) * 0.2 + (0.5 if parameter.ndim == 1 else 0.0)
        torch.save(net.state_dict(), folder / "weights")
        try:
            torch.save(outputs(net, given, scope), folder / "outputs")
        except Exception as raised:
            failed = f"the original does not run here: {type(raised).__name__}: {raised}"
    return {"tensors": tensors(net), "failed": failed}


def _port(given: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Its tensors under the original's names; the relative error of each output where the original left any."""
    sys.path.insert(0, given["tree"])
    import torch

    from omniport.verify.engine import finish_loading, relative_error

    error, failed = None, ""
    with one_rank():  # before the stand-ins, of which vLLM must not know
        with _stand_ins(given) as scope:
            module = importlib.import_module(f"vllm_omni.diffusion.models.{given['name']}.{given['name']}_transformer")
        _replace(module, given["published"])
        kind = getattr(module, given["class"])
        port = kind(**_taken(kind, eval(given["arguments"], scope))).eval()  # our own table
        ours = _unfused(port)
        if (folder / "outputs").is_file() and ours == given["tensors"]:
            try:
                port.load_weights(iter(torch.load(folder / "weights").items()))
                finish_loading(port)
                found = outputs(port, given, scope)
                expected = torch.load(folder / "outputs")
                error = max(map(relative_error, found, expected)) if len(found) == len(expected) else float("inf")
            except Exception as raised:
                failed = f"the port does not run here: {type(raised).__name__}: {raised}"
    return {"tensors": ours, "error": error, "failed": failed}


def _taken(kind: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the port's constructor: what the original takes as one dict may be parameters of the port."""
    known = inspect.signature(kind).parameters
    taken: dict[str, Any] = {}
    for name, value in arguments.items():
        taken |= value if name not in known and isinstance(value, dict) else {name: value}
    return taken


def outputs(net: Any, given: dict[str, Any], scope: dict[str, Any]) -> list[Any]:
    """What ``net`` returns for the inputs of the table, and what its watched submodules do on the way."""
    import torch

    found: list[Any] = []
    for name in given["watched"]:
        net.get_submodule(name).register_forward_hook(lambda _, __, output: found.extend(_flat(output)))
    torch.manual_seed(2)  # for the inputs, and for what is drawn on the way
    with torch.no_grad():
        output = net(**eval(given["inputs"], scope))  # our own table
    return found + _flat(output)


def _flat(output: Any) -> list[Any]:
    """Every tensor and number of an output.

    Raises:
        TypeError: something else, which cannot be compared.
    """
    import torch

    if output is None:
        return []
    if isinstance(output, list | tuple):
        return [tensor for each in output for tensor in _flat(each)]
    if isinstance(output, torch.Tensor | int | float):
        return [torch.as_tensor(output)]
    raise TypeError(f"an output of type {type(output).__name__}")


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
