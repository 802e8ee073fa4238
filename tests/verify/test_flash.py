"""``flash`` tells masks that FlashAttention takes from those that it does not, on one layer of attention."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from omniport.verify.api import ENVIRONMENT

pytestmark = pytest.mark.verify

FLASH = "1 of 1 calls of attention run in FlashAttention, {} with a mask"

#: case -> what its detail says
SOUND = {
    "no mask": FLASH.format(0),
    "no mask, fewer queries than keys": FLASH.format(0),
    "grouped keys": FLASH.format(0),
    "grouped keys, masked": FLASH.format(1),
    "causal": FLASH.format(0),
    "causal, fewer queries than keys": FLASH.format(0),
    "over keys": FLASH.format(1),
    "nothing kept of one sample": FLASH.format(1),
    "over keys, fewer queries than keys": FLASH.format(1),
    "cross, as many queries as keys": FLASH.format(1),
    "four axes, SDPA": "0 of 1 calls of attention run in FlashAttention, 0 with a mask",
}
#: case -> what is found
BROKEN = {
    "self, as many queries as keys, of which all count": "against the reference",
    "wrong": "against the reference",
    "four axes": "attention_mask must be 2D",
    "added": "only implemented on integer and Boolean-type tensors",
    "keys of another batch": "takes one batch: queries of 2, keys of 1",
    "keys of another dtype": "takes one dtype",
}


@pytest.fixture(scope="module")
def proofs() -> dict[str, dict[str, Any]]:
    root = Path(__file__).parents[2]
    env = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "tests.verify.flash"]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"case"')]
    return {line["case"]: line for line in lines}


def test_every_case_is_looked_at(proofs: dict[str, dict[str, Any]]) -> None:
    assert proofs.keys() == SOUND.keys() | BROKEN.keys()


@pytest.mark.parametrize("case", SOUND)
def test_what_flash_attention_takes_passes(proofs: dict[str, dict[str, Any]], case: str) -> None:
    assert proofs[case]["problems"] == []
    assert proofs[case]["figure"] is not None and proofs[case]["figure"] <= 1e-5
    assert proofs[case]["detail"] == SOUND[case]


@pytest.mark.parametrize("case", BROKEN)
def test_what_it_does_not_take_is_found(proofs: dict[str, dict[str, Any]], case: str) -> None:
    (problem,) = proofs[case]["problems"]
    assert BROKEN[case] in problem
