"""OP107: weights are loaded with strict=False and nobody looks at what did not fit."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import constant, keyword


class StrictFalseDiscarded(Rule):
    """Weights are loaded with ``strict=False`` and nobody looks at what did not fit.

    ``module.load_state_dict(..., strict=False)`` stands alone as a statement: the lists of missing and unexpected
    names that it returns are thrown away.

    Why: a renamed key leaves a layer at its random initial values without a word.  vLLM-Omni's own check does not see
    it, for these tensors do not pass through ``load_weights``.  NextStep's and Cosmos3's decoders and the tokenizer
    of InternVLA-A1 load so in vllm-omni 0.30.0; LTX-2, Lance and AuK look at both lists.

    Fix: ``missing, unexpected = module.load_state_dict(state, strict=False)``, and raise unless each name is one that
    may be absent.
    """

    code = "OP107"
    name = "strict-false-discarded"
    VALID = (
        """
        def load(module, state):
            missing, unexpected = module.load_state_dict(state, strict=False)
            if missing:
                raise ValueError(missing)
        """,
        """
        def load(module, state):
            module.load_state_dict(state, strict=True)
        """,
    )
    INVALID = (
        """
        def load(module, state):
            module.load_state_dict(state, strict=False)
        """,
        """
        class Decoder:
            def load(self, state):
                self.decoder.load_state_dict({k[8:]: v for k, v in state.items()}, False)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("load_state_dict"):
                continue
            for call in file.calls("load_state_dict"):
                strict = keyword(call, "strict") or (call.args[1] if len(call.args) > 1 else None)
                if constant(strict) is False and isinstance(file.parent(call), ast.Expr):
                    yield self.at(file, call, "the missing and unexpected names that strict=False allows are not read")
