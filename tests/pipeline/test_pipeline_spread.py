"""Arguments for the scheduler's step stand in its call, where the port's scheduler says which ones it takes."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from omniport.analyse.pipeline_scheduler import step_signatures
from omniport.plan.model import Decision, Why
from omniport.rewrite.pipeline.evaluate import Facts
from omniport.rewrite.pipeline.fold import fold_function
from omniport.rewrite.pipeline.spread import with_entries_spread
from omniport.source.syntax import code
from omniport.source.tree import SourceTree
from tests.pipeline.helpers import function

STEP = "self.scheduler.step"
ASK = "set(inspect.signature(self.scheduler.step).parameters.keys())"
PREPARE = f"""
def prepare(self, generator, eta):
    takes_eta = "eta" in {ASK}
    extra = {{}}
    if takes_eta:
        extra["eta"] = eta
    if "generator" in {ASK}:
        extra["generator"] = generator
    return extra
"""
CALL = """
def f(self, g, e, x):
    kwargs = self.prepare(g, eta=e)
    for t in x:
        x = self.scheduler.step(x, t, **kwargs)
    return x
"""


def prepare(*parameters: str) -> Any:
    return fold_function(function(PREPARE), Facts(signatures={STEP: frozenset(parameters)}))


def run(source: str, *parameters: str) -> str:
    return code(with_entries_spread(function(source), {"prepare": prepare(*parameters)}))


@pytest.mark.parametrize(
    ("parameters", "call"),
    [
        ((), "self.scheduler.step(x, t)"),
        (("eta",), "self.scheduler.step(x, t, eta=e)"),
        (("generator",), "self.scheduler.step(x, t, generator=g)"),
        (("generator", "eta"), "self.scheduler.step(x, t, eta=e, generator=g)"),
    ],
)
def test_the_call_has_what_the_step_takes(parameters: tuple[str, ...], call: str) -> None:
    new = run(CALL, *parameters)
    assert ast.unparse(ast.parse(call)) in ast.unparse(ast.parse(new))
    assert "kwargs" not in new


def test_a_dict_of_the_method_itself() -> None:
    new = run('def f(self, x):\n    kwargs = {}\n    kwargs["eta"] = 0.0\n    return g(x, **kwargs)\n')
    assert ast.unparse(ast.parse(new)) == "def f(self, x):\n    return g(x, eta=0.0)"


@pytest.mark.parametrize(
    "source",
    [
        CALL.replace("**kwargs)", "**kwargs, **more)").replace("return x", "return kwargs"),  # read elsewhere
        CALL.replace("for t in x:", "g = h()\n    for t in x:"),  # another one by then
        CALL.replace("for t in x:", "for g in x:"),
        CALL.replace("(g, eta=e)", "(h(), eta=e)"),  # once, not in every round
        CALL.replace("(g, eta=e)", "(*g)"),
        CALL.replace("self.prepare", "self.other"),
        CALL.replace("kwargs =", "kwargs, y ="),
        CALL.replace("for t in x:", "if x:\n        kwargs = {}\n    for t in x:"),
        'def f(self, x):\n    kwargs = {}\n    y = g(x, **kwargs)\n    kwargs["eta"] = 0.0\n    g(y, **kwargs)\n',
        'def f(self, x):\n    kwargs = {"a": x}\n    return g(x, **kwargs)\n',
        'def f(self, x):\n    kwargs = {}\n    if x:\n        kwargs["a"] = 1\n    return g(x, **kwargs)\n',
    ],
)
def test_other_forms_stay(source: str) -> None:
    assert run(source, "eta", "generator").strip() == source.strip()


def test_nothing_is_decided_without_the_signature() -> None:
    assert code(fold_function(function(PREPARE), Facts())).strip() == PREPARE.strip()
    asked = PREPARE.replace("self.scheduler.step", "self.other.step")
    assert code(fold_function(function(asked), Facts(signatures={STEP: frozenset()}))).strip() == asked.strip()
    assert (
        run(CALL.replace("self.prepare", "self.missing"), "eta").strip() == CALL.replace("prepare", "missing").strip()
    )


class Scheduler:
    def __init__(self, *names: str) -> None:
        self.names, self.seen = names, []  # type: tuple[str, ...], list[Any]

    def step(self, x: list[int], t: int, **given: Any) -> list[int]:
        if set(given) - set(self.names):
            raise TypeError(sorted(given))
        self.seen.append((t, tuple(sorted(given.items()))))
        return [*x, t]


@pytest.mark.parametrize("told", [(), ("eta",), ("generator",), ("eta", "generator")])
@pytest.mark.parametrize("true", [(), ("eta",), ("generator",), ("eta", "generator")])
def test_the_port_steps_as_the_reference_where_the_signature_is_the_true_one(
    told: tuple[str, ...], true: tuple[str, ...]
) -> None:
    """And otherwise where it is another one, so that this can fail."""
    seen = []
    for source in (CALL, run(CALL, *told)):
        names: dict[str, Any] = {}
        exec(source, names)
        port = type("Port", (), {"scheduler": Scheduler(*true), "f": names["f"]})
        port.prepare = lambda self, generator, eta: {  # type: ignore[attr-defined]
            k: v for k, v in (("eta", eta), ("generator", generator)) if k in true
        }
        try:
            seen.append((port().f("g", "e", [1, 2]), port.scheduler.seen))  # type: ignore[attr-defined]
        except TypeError as error:
            seen.append(error.args)
    assert (seen[0] == seen[1]) is (told == true)


SCHEDULER = """
class A:
    def step(self, sample, *, eta=0.0):
        pass

class B:
    @wrapped
    def step(self, sample):
        pass

class C(A):
    pass
"""


@pytest.mark.parametrize(("name", "found"), [("A", "sample, eta"), ("B", None), ("C", None)])
def test_the_signature_is_that_of_the_class(tmp_path: Path, name: str, found: str | None) -> None:
    root = tmp_path / "package"
    (root / "pipelines").mkdir(parents=True)
    (root / "__init__.py").write_text('__version__ = "1"\n')
    (root / "schedulers.py").write_text(SCHEDULER)
    (root / "pipelines" / "__init__.py").write_text("")
    (root / "pipelines" / "p.py").write_text(PREPARE)
    (root / "pipelines" / "q.py").write_text("def f():\n    pass\n")
    tree = SourceTree(root, "1")
    component = Decision("component scheduler", f"package.schedulers.{name}", Why("scheduler: named", "m.py", 1))
    made = {}
    for module in ("p", "q"):
        text = tree.module(f"package.pipelines.{module}")
        assert text is not None
        made[module] = [(d.subject, d.value) for d in step_signatures(tree, text, (component,))]
    assert made == {"p": [] if found is None else [(f"signature {STEP}", found)], "q": []}
