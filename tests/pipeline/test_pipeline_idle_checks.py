"""Checks of prompts that no request can fail go; all others stay, with what they ask."""

from __future__ import annotations

import textwrap

import pytest

from omniport.plan.model import ArgumentPlan, Why
from omniport.rewrite.pipeline import idle_checks
from omniport.rewrite.pipeline.idle_checks import prompts, without_idle_checks
from omniport.source.syntax import code
from tests.pipeline.helpers import block

LIST = '[p if isinstance(p, str) else p.get("prompt") or "" for p in req.prompts]'
ONE = '(first_prompt if isinstance(first_prompt, str) else first_prompt.get("prompt") or "")'
NEGATIVE = '([n for p in req.prompts if (n := req.get_prompt_field(p, "negative_prompt")) is not None] or None)'

PIPELINE = """
def check_inputs(self, prompt, negative_prompt, height, prompt_embeds=None, negative_prompt_embeds=None):
    if height % 16 != 0:
        raise ValueError("height")

    {checks}

def forward(self, req):
    prompt_embeds = req.collate_prompt_fields(req.prompts, "prompt_embeds")
    negative_prompt_embeds = req.collate_prompt_fields(req.prompts, "negative_prompt_embeds")
    prompt = None if prompt_embeds is not None else []
    negative_prompt = None if negative_prompt_embeds is not None else []
    height = 8

    # 1. Check inputs
    self.check_inputs(prompt, negative_prompt, height, prompt_embeds, negative_prompt_embeds)
    return self.encode(prompt, negative_prompt, prompt_embeds, negative_prompt_embeds)
"""

CHAIN = """
if prompt is not None and prompt_embeds is not None:
    raise ValueError("both")
elif prompt is None and prompt_embeds is None:
    raise ValueError("neither")
elif prompt is not None and (not isinstance(prompt, str) and not isinstance(prompt, list)):
    raise ValueError("type")
elif negative_prompt is not None and negative_prompt_embeds is not None:
    raise ValueError("both negative")
"""


def argument(name: str, value: str) -> ArgumentPlan:
    return ArgumentPlan(name, f"None if {name}_embeds is not None else {value}", "None", Why("prompt"))


def written(checks: str, prompt: str = LIST, source: str = PIPELINE) -> tuple[str, str]:
    """The methods before and after."""
    methods = block(source.format(checks=textwrap.indent(checks.strip(), "    ").strip()))
    arguments = [argument("prompt", prompt), argument("negative_prompt", NEGATIVE)]
    new = without_idle_checks(methods, arguments)  # type: ignore[arg-type]
    return "".join(map(code, methods)), "".join(map(code, new))


def test_prompts_come_with_what_is_known_of_them() -> None:
    one, negative = prompts([argument("prompt", ONE), argument("negative_prompt", NEGATIVE)])
    assert (one.name, one.embeds, one.always, one.listed) == ("prompt", "prompt_embeds", True, False)
    assert (negative.embeds, negative.always, negative.listed) == ("negative_prompt_embeds", False, True)
    assert prompts([ArgumentPlan("height", "params.height", "None", Why(""))]) == []


def test_checks_that_always_hold_go_with_the_parameters_that_they_ask_of() -> None:
    _, new = written(CHAIN)
    assert "def check_inputs(self, height):" in new and "self.check_inputs(height)" in new
    assert 'raise ValueError("height")' in new and new.count("raise") == 1 and "# 1. Check inputs" in new


def test_the_check_in_the_middle_of_a_chain_stays() -> None:
    kept = "elif prompt is None and height > 4:\n    raise ValueError('odd')\n"
    _, new = written(
        CHAIN.replace("elif prompt is None and prompt_embeds", f"{kept}elif prompt is None and prompt_embeds")
    )
    assert "    if prompt is None and height > 4:\n        raise ValueError('odd')\n" in new and new.count("raise") == 2
    assert "def check_inputs(self, prompt, height):" in new and "self.check_inputs(prompt, height)" in new


def test_a_single_prompt_may_be_of_a_wrong_type() -> None:
    _, new = written(CHAIN, ONE)
    assert 'raise ValueError("type")' in new and '"both"' not in new and '"neither"' not in new


CAN_FAIL = [
    "if negative_prompt is None and negative_prompt_embeds is None:\n    raise ValueError()",
    "if prompt is not None or prompt_embeds is not None:\n    raise ValueError()",
    "if prompt is not None and negative_prompt_embeds is not None:\n    raise ValueError()",
    "if not isinstance(prompt, str) and not isinstance(prompt, list):\n    raise ValueError()",  # None is neither
    "if prompt_embeds is not None and negative_prompt_embeds is not None:\n    raise ValueError()",
    "prompt = prompt or height\nif prompt is not None and prompt_embeds is not None:\n    raise ValueError()",
]


@pytest.mark.parametrize("checks", CAN_FAIL)
def test_checks_that_a_request_can_fail_stay(checks: str) -> None:
    before, new = written(checks)
    assert new == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("self.encode(prompt,", "self.check_inputs(prompt, prompt, 8, height) + self.encode(prompt,"),
        ("self.encode(prompt,", "self.run(self.check_inputs, prompt,"),
        ("self.check_inputs(prompt,", "self.check_inputs(*prompt,"),
        ("return self.encode(prompt, negative_prompt, prompt_embeds,", "return self.encode("),  # left without use
    ],
)
def test_where_more_may_arrive_all_stays(old: str, new: str) -> None:
    assert old in PIPELINE
    before, after = written(CHAIN, source=PIPELINE.replace(old, new))
    assert after == before


@pytest.mark.parametrize("line", ["prompt = prompt or req.text", "if req:\n        prompt_embeds = None"])
def test_what_is_bound_anew_may_be_both_or_neither(line: str) -> None:
    _, new = written(CHAIN, source=PIPELINE.replace("    height = 8\n", f"    height = 8\n    {line}\n"))
    assert all(f'raise ValueError("{what}")' in new for what in ("both", "neither", "type"))
    assert "both negative" not in new  # of which nothing is bound anew


def test_without_the_proof_checks_that_can_fail_would_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_checks, "_impossible", lambda parts, prompt: "height % 16 != 0" not in parts)
    assert all("raise ValueError()" not in written(checks)[1] for checks in CAN_FAIL[:-1])


OWN = """
def forward(self, req):
    prompt_embeds = req.collate_prompt_fields(req.prompts, "prompt_embeds")
    prompt = None if prompt_embeds is not None else []
    height = 8
    {checks}
    return self.encode(prompt, prompt_embeds, height)
"""


def own(*lines: str) -> str:
    """What is left of checks in ``forward`` itself."""
    text = written("\n".join(lines), source=OWN)[1]
    return text.split("height = 8\n")[1].rpartition("    return")[0].strip()


def test_checks_of_forward_itself() -> None:
    both = ("if prompt is not None and prompt_embeds is not None:", '    raise ValueError("both")')
    neither = ("if prompt is None and prompt_embeds is None:", '    raise ValueError("neither")')
    assert own(*both, *neither) == ""
    size = ("if height % 16 != 0:", '    raise ValueError("height")')
    assert own(*both, *size) == "\n    ".join(size)


@pytest.mark.parametrize("line", ["prompt = self.enhance(prompt)", "if height:\n    prompt_embeds = None"])
def test_a_prompt_that_forward_binds_anew_may_be_anything(line: str) -> None:
    both = ("if prompt is not None and prompt_embeds is not None:", '    raise ValueError("both")')
    assert "both" in own(*line.split("\n"), *both)
    assert "both" not in own(*both, *line.split("\n"))


def test_a_check_that_binds_what_it_asks_stays() -> None:
    text = own("if prompt is not None and prompt_embeds is not None:", "    prompt = None")
    assert text.startswith("if prompt is not None")
