"""What a prompt is, is known from the request on: questions about it that have one answer go."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from omniport.analyse.pipeline_arguments import prompt_kinds
from omniport.plan.model import ArgumentPlan, Why
from omniport.rewrite.pipeline.evaluate import Facts
from omniport.rewrite.pipeline.fold import fold_function
from omniport.rewrite.pipeline.kinds import with_known_kinds
from omniport.source.syntax import code
from tests.pipeline.helpers import function

STR, LIST = frozenset({"str"}), frozenset({"list"})
SOME, LISTED = STR | {"None"}, LIST | {"None"}
OWNERS = frozenset({"self"})


def run(body: str, **kinds: frozenset[str]) -> str:
    """The body of a method of ``a``, ``b`` and ``n`` whose kinds are given, folded."""
    source = f"def f(self, a, b, n):\n{textwrap.indent(body, '    ')}"
    node = function(source)
    new = with_known_kinds({"f": node}, "f", kinds, OWNERS, lambda _: True).get("f", node)
    again = fold_function(new, Facts())
    new = with_known_kinds({"f": again}, "f", kinds, OWNERS, lambda _: True).get("f", again)
    return textwrap.dedent("\n".join(code(fold_function(new, Facts())).strip().splitlines()[1:]))


@pytest.mark.parametrize(
    ("body", "kinds", "after"),
    [
        ("a = [a] if isinstance(a, str) else a\ng(a)", {"a": LISTED}, "g(a)"),
        ("a = [a] if isinstance(a, str) else a\ng(a)", {"a": STR}, "a = [a]\ng(a)"),
        ("if isinstance(a, str):\n    a = [a]\nreturn len(a)", {"a": LIST}, "return len(a)"),
        (
            "if a is not None and isinstance(a, str):\n    g()\nelse:\n    h()",
            {"a": SOME},
            "if a is not None:\n    g()\nelse:\n    h()",
        ),
        (
            "if a is None:\n    h()\nelif not isinstance(a, (str, list)):\n    raise E\ng()",
            {"a": SOME},
            "if a is None:\n    h()\ng()",
        ),
        (
            "if a is None:\n    a = ''\nb = n * [a] if isinstance(a, str) else a\ng(b)",
            {"a": SOME},
            "if a is None:\n    a = ''\nb = n * [a]\ng(b)",
        ),
        ("a = a or ''\nb = [a] if isinstance(a, str) else a\ng(b)", {"a": SOME}, "a = a or ''\nb = [a]\ng(b)"),
        ("if isinstance(a, torch.Tensor):\n    g()\nh()", {"a": STR}, "h()"),
        ("if type(a) is not type(b):\n    raise E\nh()", {"a": LIST, "b": LIST}, "h()"),
        ("a = [a] * n\nif n != len(a):\n    raise E\nh(a)", {"a": STR}, "a = [a] * n\nh(a)"),
        ("if isinstance(a, str | list):\n    g(a)", {"a": SOME}, "if isinstance(a, str | list):\n    g(a)"),
        (
            "if a is None:\n    return h()\nif a is not None:\n    g()",
            {"a": SOME},
            "if a is None:\n    return h()\ng()",
        ),
        ("for x in n:\n    if isinstance(a, list):\n        g(x)", {"a": STR}, "for x in n:\n    pass"),
    ],
)
def test_one_answer_is_written(body: str, kinds: dict[str, frozenset[str]], after: str) -> None:
    assert run(body, **kinds) == after


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        ("if isinstance(a, str):\n    g()", {}),  # anything
        ("if isinstance(a, str):\n    g()", {"a": SOME}),
        ("if isinstance(a, str):\n    g()", {"a": STR | LIST}),
        ("if isinstance(a, Other):\n    g()", {"a": STR}),  # a class that may be a base of str
        ("a = g(a)\nif isinstance(a, str):\n    g()", {"a": STR}),
        ("for a in g(a):\n    if isinstance(a, str):\n        g()", {"a": STR}),
        ("for x in n:\n    if isinstance(a, str):\n        a = g(a)", {"a": STR}),  # other in the next round
        ("while n:\n    if isinstance(a, str):\n        a = g(a)", {"a": STR}),
        ("if n:\n    a = [a]\nif isinstance(a, str):\n    g()", {"a": STR}),
        ("if g(a := [a]):\n    if isinstance(a, str):\n        g()", {"a": STR}),
        ("try:\n    a = h()\nexcept E:\n    pass\nif isinstance(a, str):\n    g()", {"a": STR}),
        ("g([isinstance(a, str) for a in n])", {"a": LIST}),  # a name of its own
        ("g(lambda a: isinstance(a, str))", {"a": LIST}),
        ("a = [a] * n\nn = g()\nif n != len(a):\n    raise E", {"a": STR}),
        ("a = [a] * n\na.append(b)\nif n != len(a):\n    raise E", {"a": STR}),
        ("a = [a] * n\nc = a\nif n != len(a):\n    raise E", {"a": STR}),
        ("a = [a, a] * n\nif n != len(a):\n    raise E", {"a": STR}),
        ("a = [*a] * n\nif n != len(a):\n    raise E", {"a": LIST}),
        ("if type(a) is not type(b):\n    raise E", {"a": LIST, "b": LISTED}),
        ("if g(a) or isinstance(a, str):\n    g()", {"a": SOME}),
    ],
)
def test_what_may_have_two_answers_stays(body: str, kinds: dict[str, frozenset[str]]) -> None:
    assert run(body, **kinds) == body


ENTRY = "def f(self, a):\n    if a is not None:\n        a = [a]\n    return self.g({})\n"
HELPER = (
    "def g(self, x, y=None):\n    return 'str' if isinstance(x, str) else 'list' if isinstance(x, list) else 'other'\n"
)


def methods(given: str, more: str = "") -> dict[str, str]:
    nodes = {"f": function(ENTRY.format(given)), "g": function(HELPER)}
    if more:
        nodes["h"] = function(more)
    new = with_known_kinds(nodes, "f", {"a": SOME}, OWNERS, lambda name: name != "h")
    return {name: code(fold_function(node, Facts())) for name, node in new.items()}


def test_a_method_knows_what_every_call_gives_it() -> None:
    assert "isinstance(x, str)" not in methods("a")["g"]
    assert "isinstance(x, str)" not in methods("y=n, x=a")["g"]


@pytest.mark.parametrize("given", ["n", "a if a else n", "*a", "self.a"])
def test_a_method_that_may_get_anything_asks(given: str) -> None:
    if given == "*a":
        nodes = {"f": function(ENTRY.format(given)), "g": function(HELPER)}
        assert with_known_kinds(nodes, "f", {"a": SOME}, OWNERS, lambda _: False) == {}
        return
    assert "g" not in methods(given)


def test_calls_of_methods_that_are_not_followed_count_too() -> None:
    assert "g" in methods("a")
    assert "g" not in methods("a", "def h(self, z):\n    return self.g(z)\n")
    assert "g" not in methods("a", "def h(self, z):\n    return [self.g(a) for a in z]\n")


METHOD = """
def f(self, a):
    if a is not None and isinstance(a, str):
        n = 1
    elif a is not None and isinstance(a, list):
        n = len(a)
    else:
        n = 0
    a = [a] if isinstance(a, str) else a
    return n, a
"""


@pytest.mark.parametrize(
    ("kinds", "value", "same"),
    [(SOME, "x", True), (SOME, None, True), (LISTED, ["x", "y"], True), (LIST, ["x"], True), (STR, "xy", True),
     (SOME, ["x", "y"], False), (LIST, "xy", False), (STR, None, False)],
)  # fmt: skip
def test_what_is_written_does_the_same_for_these_kinds_alone(kinds: frozenset[str], value: Any, same: bool) -> None:
    """And something else for others: why no more is taken as known than the request says."""
    node = function(METHOD)
    new = fold_function(with_known_kinds({"f": node}, "f", {"a": kinds}, OWNERS, lambda _: True)["f"], Facts())
    results = []
    for text in (METHOD, code(new)):
        names: dict[str, Any] = {}
        exec(text, names)
        results.append(names["f"](None, value))
    assert (results[0] == results[1]) is same


@pytest.mark.parametrize(
    ("name", "source", "default", "kinds"),
    [
        ("prompt", "[p for p in req.prompts]", None, "list"),
        ("prompt", "None if prompt_embeds is not None else [p for p in req.prompts]", None, "None, list"),
        ("prompt", "None if prompt_embeds is not None else (first_prompt or 1)", "None", "None, str"),
        ("negative_prompt", 'req.get_prompt_field(first_prompt, "negative_prompt")', "None", "None, str"),
        ("negative_prompt", "None if x is not None else ([n for n in p] or None)", "None", "None, list"),
        ("negative_prompt", "n if (n := 1) is not None else ''", "''", "str"),
        ("negative_prompt", "n if (n := 1) is not None else ['']", "['']", None),
        ("prompt_2", 'params.extra_args.get("prompt_2")', "None", None),
    ],
)
def test_kinds_are_those_of_the_binding(name: str, source: str, default: str | None, kinds: str | None) -> None:
    found = prompt_kinds([ArgumentPlan(name, source, default, Why("prompt: a", "m.py", 1))])
    assert [d.value for d in found] == ([] if kinds is None else [kinds])
    assert all(d.why.line == 1 and d.why.file == "m.py" for d in found)
