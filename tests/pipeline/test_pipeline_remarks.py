"""Comments about what a port has none of go; every other line stays as it is."""

from __future__ import annotations

import pytest

from omniport.rewrite.pipeline.remarks import without_remarks


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("# Copied from package.module.Class.method\ndef f():\n    x\n", "def f():\n    x\n"),
        ("    # Copied from\n    # package.module.Class.method\n    x\n", "    x\n"),
        ("# 3. Make latents. Copied from package.module\nx\n", "# 3. Make latents.\nx\n"),
        ("    # repeat for each, using mps friendly method\n    x\n", "    # repeat for each\n    x\n"),
        ("# repeat all of\n# these, using mps\n# friendly method\nx\n", "# repeat all of these\nx\n"),
        (
            "# t is in [0, 1]\n# expand in a way that's compatible with ONNX/Core ML\nx\n",
            "# t is in [0, 1]\n# expand\nx\n",
        ),
        ("a\n\n# call the callback\n# if there is one\nb\n", "a\n\nb\n"),
        ("# the model may be offloaded\nx\n", "x\n"),
        ("# a reason\n# TODO: do more\n# and more\nx\n", "# a reason\nx\n"),
        ("# 6. Prepare more. TODO: it should\n# be elsewhere\nx\n", "# 6. Prepare more.\nx\n"),
        ("# cast back, as it may be float32 (needed for\n# otherDiT)\nx\n", "# cast back, as it may be float32\nx\n"),
        ("# 2. Prepare\n# the latents, TODO move them\nx\n", "# 2. Prepare\n# the latents,\nx\n"),
    ],
)
def test_what_the_port_has_none_of_goes(source: str, expected: str) -> None:
    assert without_remarks(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        "# repeat for each\nx\n",
        'x = """\n# Copied from package\n"""\n',
        "x = y  # TODO: more\n",
        "# 5. Prepare the callback\nx\n",  # heads a section
        "# the TODO list of the batch\nx\n",
        "# 6. Prepare the TODO list. Then go on\nx\n",
        "callback = offload(x)\n",
        "# compatible\nx\n",
        "# needed for the other half\nx\n",
        "# cast back (needed for\n# the other half)\nx\n",
    ],
)
def test_other_lines_stay(source: str) -> None:
    assert without_remarks(source) == source
