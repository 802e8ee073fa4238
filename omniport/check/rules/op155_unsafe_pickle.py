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

    ``torch.load`` without ``weights_only=True``, or ``pickle.load``.

    Why: a pickle names functions to call; whoever can change a file on the Hub runs code in the worker.  torch has
    defaulted to ``weights_only=True`` since 2.6, but a port that says False, or runs with an older torch, does not
    have it.  Ming's ByT5 encoder says False for three files in vllm-omni 0.30.0, and Cosmos3's tokenizer leaves it out.

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
        def load(path):
            return torch.load(path)
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
                if constant(keyword(call, "weights_only")) is not True:
                    yield self.at(file, call, f"{name} can run code from the file; pass weights_only=True")
