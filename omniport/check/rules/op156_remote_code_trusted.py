"""OP156: code from the checkpoint's repository is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import constant


class RemoteCodeTrusted(Rule):
    """Code from the checkpoint's repository is run, whether the user agreed or not.

    ``trust_remote_code=True`` is written as a literal.

    Why: the repository's Python files run in the worker.  That is the user's decision (``--trust-remote-code``), not
    the port's, and a native port needs no code of the repository; Hugging Face's model linter forbids it (TRF014).
    HunyuanImage-3, Ming and others of vllm-omni 0.30.0 have it.

    Fix: ``trust_remote_code=od_config.trust_remote_code``, or use the class from transformers or diffusers.
    """

    code = "OP156"
    name = "remote-code-trusted"
    VALID = (
        """
        def load(od_config):
            return AutoModel.from_pretrained(od_config.model, trust_remote_code=od_config.trust_remote_code)
        """,
        """
        def load(model):
            return AutoModel.from_pretrained(model, trust_remote_code=False)
        """,
    )
    INVALID = (
        """
        def load(model):
            return AutoTokenizer.from_pretrained(model, trust_remote_code=True)
        """,
        """
        def load(model):
            kwargs = {"trust_remote_code": True}
            return AutoModel.from_pretrained(model, **kwargs)
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            if not file.mentions("trust_remote_code"):
                continue
            for node in file.nodes(ast.keyword):
                if node.arg == "trust_remote_code" and constant(node.value) is True:
                    yield self.at(file, node, "the repository's code runs whatever the user decided")
            for table in file.nodes(ast.Dict):
                for key, value in zip(table.keys, table.values, strict=True):
                    if key is not None and constant(key) == "trust_remote_code" and constant(value) is True:
                        yield self.at(file, key, "the repository's code runs whatever the user decided")
