"""OP159: a file is opened relative to the directory the server was started in."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.source import constant, dotted, last_name

_OPENERS = frozenset({"open", "from_json_file", "load_file", "safe_open", "from_file"})


class RelativeToWorkingDirectory(Rule):
    """A file is opened by a path relative to the directory the server was started in.

    The first argument of ``open``, ``from_json_file``, ``load_file``, ``safe_open`` or ``torch.load`` is a literal
    relative path.

    Why: original repositories are run from their own folder and open their configs so (DreamID-Omni does); a server
    is started from anywhere, and finds another file of that name or none.  vllm-omni 0.30.0 has no such call left.

    Fix: join the path to ``od_config.model`` or to ``Path(__file__).parent``.
    """

    code = "OP159"
    name = "relative-to-working-directory"
    VALID = (
        """
        def read(root):
            with open(os.path.join(root, "config.json")) as file:
                return json.load(file)
        """,
        """
        def read(prefix=""):
            return open("/proc/meminfo").read()
        """,
    )
    INVALID = (
        """
        def read():
            with open("configs/model/dit/video.json") as file:
                return json.load(file)
        """,
        """
        def read():
            return Config.from_json_file("config.json")
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        for file in port.files:
            for call in file.nodes(ast.Call):
                name = last_name(call.func)
                if name not in _OPENERS and dotted(call.func) != "torch.load":
                    continue
                path = constant(call.args[0]) if call.args else None
                if isinstance(path, str) and path and not path.startswith(("/", "~")) and "." in path:
                    yield self.at(file, call.args[0], f"{path!r} is relative to wherever the server was started")
