"""Methods that are always given the pipeline's device do not take it; all others keep what they take."""

from __future__ import annotations

import textwrap

import pytest

from omniport.rewrite.pipeline import devices
from omniport.rewrite.pipeline.devices import on_own_device
from omniport.source.syntax import code
from tests.pipeline.helpers import block

PIPELINE = '''
def __init__(self):
    self.device = get_local_device()

def _embeds(self, prompt, device=None, dtype=None):
    device = device or self.device

    x = self.tokens(prompt).to(device)
    return x.to(dtype, device=device), x[0].device

def encode(self, prompt, device=None):
    """Encode a prompt.

    Args:
        prompt (`str`):
            what to encode
        device (`torch.device`):
            torch device
    """
    device = device or self.device
    return self._embeds(prompt, device, self.dtype), self._embeds("", dtype=self.dtype)

@staticmethod
def ids(height, device):
    return torch.arange(height, device=device)

def forward(self, req):
    device = self.device
    x = self.encode(req.prompt, device=device)
    return x, self.ids(3, device)
'''

EXPECTED = '''
def __init__(self):
    self.device = get_local_device()

def _embeds(self, prompt, dtype=None):
    x = self.tokens(prompt).to(self.device)
    return x.to(dtype, device=self.device), x[0].device

def encode(self, prompt):
    """Encode a prompt.

    Args:
        prompt (`str`):
            what to encode
    """
    return self._embeds(prompt, self.dtype), self._embeds("", dtype=self.dtype)

@staticmethod
def ids(height, device):
    return torch.arange(height, device=device)

def forward(self, req):
    x = self.encode(req.prompt)
    return x, self.ids(3, self.device)
'''


def written(source: str) -> str:
    return "".join(code(m) for m in on_own_device(block(source), "Pipeline"))  # type: ignore[arg-type]


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def test_the_device_is_not_handed_on() -> None:
    assert lines(written(PIPELINE)) == lines(EXPECTED)


QUESTION = "    if device is None:\n        device = self.device\n"
ASKED = PIPELINE.replace("    device = device or self.device\n", QUESTION)


def test_a_question_of_its_own_is_such_a_default_too() -> None:
    assert "is None" in ASKED
    assert lines(written(ASKED)) == lines(EXPECTED)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("        device = self.device\n", "        device = self.text_encoder.device\n"),
        ("        device = self.device\n", "        device = self.device\n    else:\n        f(device)\n"),
        ("        device = self.device\n", "        device = self.device\n        f(device)\n"),
        ("    if device is None:", "    if prompt is None:"),
        ("    if device is None:", "    if device is not None:"),
    ],
)
def test_other_questions_stay(old: str, new: str) -> None:
    assert old in ASKED
    text = written(ASKED.replace(old, new))
    assert "device=None" in text and new in text


def test_the_question_stays_as_it_is_where_the_device_does() -> None:
    source = ASKED.replace("self.encode(req.prompt, device=device)", "self.encode(req.prompt, device=req.device)")
    text = written(source)
    assert "def encode(self, prompt, device=None)" in text and QUESTION in text


def test_a_local_that_is_read_often_stays() -> None:
    source = PIPELINE.replace("self.ids(3, device)", "self.ids(3, device), x.to(device)")
    assert "    device = self.device\n" in written(source)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("device=device)\n    return x, ", "device=req.device)\n    return x, "),  # another device
        ("    x = self.tokens", "    device = torch.device('cpu')\n    x = self.tokens"),  # bound once more
        ("device=None, dtype", "device, dtype"),  # nothing guards what one call leaves out
        ("    device = self.device\n", "    self.device = device = req.device\n"),  # the pipeline's own changes
        ("return x, self", "f = self._embeds, self.encode\n    return x, self"),  # called by others
        ("return x, self", "getattr(self, '_embeds'), getattr(self, 'encode')\n    return x, self"),
        ("self._embeds(prompt, device, self.dtype)", "self._embeds(*prompt, device, self.dtype)"),
    ],
)
def test_what_may_be_another_device_stays(old: str, new: str) -> None:
    assert old in PIPELINE
    source = PIPELINE.replace(old, new)
    text = written(source)
    assert "def _embeds(self, prompt, device" in text


def run(text: str, device: str) -> object:
    names: dict[str, object] = {"get_local_device": lambda: "cpu"}
    exec("class Pipeline:\n" + textwrap.indent(text, "    "), names)
    pipeline = names["Pipeline"]()  # type: ignore[operator]
    return pipeline.forward(device)


RUNS = """
def __init__(self):
    self.device = get_local_device()

def place(self, value, device=None):
    device = device or self.device
    return value, device

def forward(self, other):
    device = self.device
    return self.place(1, device), self.place(2), self.place(3, other)
"""


def test_what_is_written_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    alike = RUNS.replace(", other)\n", ", device)\n")
    assert run(written(alike), "gpu") == run(alike, "gpu") and "device=None" not in written(alike)
    assert run(written(RUNS), "gpu") == run(RUNS, "gpu") and "device=None" in written(RUNS)
    # A twin that asks no caller is found out.
    monkeypatch.setattr(devices, "_given", lambda call, parameters: {})
    assert run(written(RUNS), "gpu") != run(RUNS, "gpu")


def test_without_devices_nothing_changes() -> None:
    methods = block("def forward(self, req):\n    return self.device\n")
    assert all(a is b for a, b in zip(on_own_device(methods, "Pipeline"), methods, strict=True))  # type: ignore[arg-type]
