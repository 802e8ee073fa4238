"""OP155: a checkpoint file can run code while it is loaded."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import constant, dotted, has_star, keyword

_READERS = frozenset({"torch.load", "pickle.load", "pickle.loads", "joblib.load", "dill.load"})


class UnsafePickle(Rule):
    """A checkpoint file can run code while it is loaded.

    ``torch.load`` with ``weights_only=False``, or ``pickle.load``.  Left out it is True, since torch 2.6.

    Why: a pickle names functions to call; whoever can change a file on the Hub runs code in the worker.  Ming's ByT5
    encoder says False for three files in vllm-omni 0.30.0, of which it uses the tensors only.

    Fix: ``torch.load(path, map_location="cpu", weights_only=True)``; better, convert to safetensors once.
    """

    code = "OP155"
    name = "unsafe-pickle"
    VALID = (
        """
        def load(path):
            return torch.load(path, map_location="cpu", weights_only=True)
        """,
        """
        def load(path):
            return load_file(path)
        """,
    )
    INVALID = (
        """
        def load(path):
            return torch.load(path, map_location="cpu", weights_only=False)
        """,
        """
        def load(path, trusted):
            return torch.load(path, weights_only=False, mmap=trusted)
        """,
        """
        def load(path):
            with open(path, "rb") as file:
                return pickle.load(file)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not (file.mentions(".load(") or file.mentions(".loads(")):
                continue
            for call in file.nodes(ast.Call):
                name = dotted(call.func)
                if name not in _READERS or has_star(call):
                    continue
                if name != "torch.load" or constant(keyword(call, "weights_only")) is False:
                    yield self.at(file, call, f"{name} can run code from the file; pass weights_only=True")
