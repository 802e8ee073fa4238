"""The report of a port: what it shows, that nothing in it is markup of a model's making, and how it looks."""

from __future__ import annotations

import json
import shlex
import warnings
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from omniport.errors import OmniportError
from omniport.report.page.facts import MEANING, PortReport, collect
from omniport.report.page.html import html
from omniport.report.page.markdown import markdown, prose
from omniport.report.page.picture import size
from omniport.report.page.plot import error_plot
from omniport.report.page.rows import rows
from omniport.report.page.view import alarming, folded
from omniport.report.page.write import form_of, write
from omniport.scaffold import scaffold
from omniport.verify.features import FEATURES
from omniport.verify.port import find_port
from omniport.verify.results import BlockError, Check, FeatureResult, ModuleNode, SplitPoint, VerifyReport
from tests.support.browser import browser, find_browser

FLUX = Path(__file__).parents[2] / "fixtures" / "hub" / "black-forest-labs" / "FLUX.1-dev"
VOID = {"meta", "br"}
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)> | @someone #1 https://example.org `x` \u202e'


def leaf(name: str, class_name: str, kind: str, parameters: int = 64, *splits: SplitPoint) -> ModuleNode:
    return ModuleNode(name, class_name, kind, 1, parameters, splits)


def toy_tree(text: str = "") -> ModuleNode:
    attention = ModuleNode(
        "attn",
        "ToyAttention",
        "",
        1,
        192,
        (),
        (
            leaf("to_qkv", "QKVParallelLinear", "qkv", 128),
            leaf("attn", "Attention", "attention", 0),
            leaf("to_out", "RowParallelLinear", "row"),
        ),
    )
    block = ModuleNode("0", "ToyBlock", "", 19, 256, (), (leaf("norm", "RMSNorm", "norm"), attention))
    split = SplitPoint("split", "hidden_states", 1, True)
    children = (
        leaf("x_embedder", f"Linear{text}", "replicated"),
        ModuleNode("sequence_split", "SequenceSplit", "", 1, 0, (split,)),
        ModuleNode("blocks", "ModuleList", "", 1, 256 * 19, (), (block,)),
        leaf(f"proj_out{text}", "Linear", "replicated", 64, SplitPoint("gather", f"hidden_states{text}", 1, True)),
    )
    return ModuleNode("Toy", "Toy", "", 1, 64 + 256 * 19 + 64, (), children)


def result(feature: str, digest: str, text: str = "", state: str = "validated") -> FeatureResult:
    blocks = (
        BlockError("24 tokens", f"blocks.0{text}", 0.0),
        BlockError("24 tokens", f"blocks.1{text}", 3e-7),
        BlockError("24 tokens", f"other.0{text}", None),
    )
    return FeatureResult(
        feature=feature,
        state=state,  # type: ignore[arg-type]
        figure=3e-7,
        reason=f"wrong{text}" if state != "validated" else "",
        checks=(Check(f"outputs{text}", state == "validated", text, 3e-7, 1e-5),),
        evidence=(f"measured{text}",),
        seconds=1.5,
        command="omniport verify port",
        versions={"torch": f"2.0{text}"},
        date="2026-01-01T00:00:00+00:00",
        digest=digest,
        blocks=blocks if feature == "parity" else (),
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> PortReport:
    """A report on FLUX.1-dev as a plugin, with evidence for some features."""
    root = tmp_path_factory.mktemp("port") / "flux"
    options = {"name": None, "revision": None, "source": None, "offline": True, "into": None}
    scaffold(str(FLUX), plugin=root, dry_run=False, diff=False, force=False, **options)  # type: ignore[arg-type]
    port = find_port(root)
    results = [result("load", port.digest()), result("parity", port.digest(), state="limited"), result("e2e", "other")]
    features = {r.feature: r.to_data() for r in results}
    port.evidence_path.write_text(json.dumps({"schema": 1, "name": port.name, "features": features}))
    verified = VerifyReport("flux", "", tuple(results[:2]), 1.0, notes=("a note",), tree=toy_tree())
    return collect(port, verified, "omniport verify flux --report port.html")


@pytest.fixture(scope="module")
def hostile(report: PortReport) -> PortReport:
    """The same with markup wherever a name of the model's may stand."""
    plan = report.plan
    why = replace(plan.model.why[0], reason=HOSTILE, file=HOSTILE)
    model = replace(plan.model, model=HOSTILE, revision=HOSTILE, pipeline_class=HOSTILE, source=HOSTILE, why=(why,))
    component = replace(model.components[0], name=HOSTILE, class_name=HOSTILE, library=HOSTILE)
    transformer = replace(
        plan.transformer,
        weights=(replace(plan.transformer.weights[0], parameter=HOSTILE, checkpoint=HOSTILE, shard=HOSTILE),),
        decisions=(replace(plan.transformer.decisions[0], subject=HOSTILE, value=HOSTILE, why=why),),
        features=(replace(plan.transformer.features[0], name=HOSTILE, why=why),),
    )
    todo = replace(transformer.decisions[0])
    return replace(
        report,
        plan=replace(plan, model=replace(model, components=(component,)), transformer=transformer, todos=(todo,)),
        results={"parity": result("parity", "x", HOSTILE, "limited"), "load": result("load", "x", HOSTILE)},
        tree=toy_tree(HOSTILE),
        notes=(HOSTILE,),
        scaffold=HOSTILE,
        verify=HOSTILE,
    )


class Elements(HTMLParser):
    """Every element with its attributes, all text, and what is wrong with the nesting."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.wrong, self._open = "", list[str](), list[str]()
        self.feed(page)
        self.close()
        self.wrong += [f"<{name}> is not closed" for name in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.wrong.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        self.text += data

    def names(self) -> set[str]:
        return {name for name, _ in self.found}


def test_the_page_says_what_the_contract_asks_for(report: PortReport) -> None:
    page = Elements(html(report))
    assert page.wrong == []
    for wanted in (
        "FluxPipeline", "diffusers.models.transformers.transformer_flux.FluxTransformer2DModel",  # from what
        "omniport verify flux --report port.html", "omniport scaffold", "torch", "a note",  # commands and versions
        "split hidden_states", "gather hidden_states", "heads over the ranks", "blocks.0…18 ×19",  # the tree
        "wrong", "3.0e-07", "measured", "other.0", "limit of the outputs",  # figures
        "to_qkv", "add_q_proj", "Nothing.",  # weights and TODOs
    ):  # fmt: skip
        assert wanted in page.text, wanted
    assert {"svg", "table", "details"} <= page.names()


def test_only_evidence_for_the_present_source_counts(report: PortReport) -> None:
    """e2e was proven for other source: it is not tested, as all that never ran."""
    assert set(report.results) == {"load", "parity"}
    assert report.states() == {"validated": 1, "limited": 1, "not tested": len(FEATURES) - 2}
    assert "| e2e | not tested |  | no evidence for this source |" in markdown(report)


@pytest.mark.parametrize("which", ["report", "hostile"])
def test_a_page_needs_nothing_else_and_runs_nothing(which: str, request: pytest.FixtureRequest) -> None:
    page = Elements(html(request.getfixturevalue(which)))
    assert page.wrong == []
    assert not page.names() & {"script", "img", "iframe", "object", "link", "base", "form", "a", "image", "use"}
    for name, attributes in page.found:
        assert not [key for key in attributes if key.startswith("on") or key in ("href", "src", "action")], name
    policies = [a["content"] for n, a in page.found if n == "meta" and "http-equiv" in a]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_hostile_names_are_shown_and_are_no_markup(hostile: PortReport, report: PortReport) -> None:
    text = html(hostile)
    assert "<script>alert(1)" in Elements(text).text and "\u202e" not in text
    assert Elements(text).names() == Elements(html(report)).names()


def test_hostile_names_are_no_markdown(hostile: PortReport) -> None:
    text = markdown(hostile)
    outside = "\n".join(part for i, part in enumerate(text.split("```")) if i % 2 == 0)
    assert "<script" not in outside and "<img" not in outside and "\u202e" not in text
    for line in outside.splitlines():
        if "someone" in line:  # no mention and no link but in code
            for part in line.split("<code>")[1:]:
                line = line.replace(f"<code>{part.partition('</code>')[0]}</code>", "")
            assert "@" not in line and "https://" not in line, line


def test_markdown_escapes_what_would_mention_or_link() -> None:
    assert prose("a_b") == r"a\_b"
    assert prose("@team") == "<code>@team</code>" and prose("https://x") == "<code>https://x</code>"
    assert prose("see #12") == r"<code>see \#12</code>"


def test_the_rows_join_chains_and_know_the_share_of_a_rank() -> None:
    found = {row.name: row for row in rows(toy_tree())}
    assert list(found) == [
        "Toy", "x_embedder", "sequence_split", "blocks.0…18", "norm", "attn", "to_qkv", "attn", "to_out", "proj_out",
    ][:5] + ["attn", "to_qkv", "to_out", "proj_out"]  # fmt: skip
    assert [name for name, row in found.items() if not row.shared] == ["Toy", "x_embedder"]
    assert found["blocks.0…18"].count == 19 and found["blocks.0…18"].parameters == 19 * 256


def test_the_elements_of_the_tree_add_up(report: PortReport) -> None:
    elements = report.elements()
    assert sum(elements.values()) == toy_tree().parameters
    assert elements["sharded"] == 19 * 192


def test_every_error_stands_in_the_plot_where_its_size_is() -> None:
    rows_ = [BlockError("c", f"b.{i}", e) for i, e in enumerate((0.0, 1e-8, 1e-6, 1e-3, float("inf"), None))]
    page = Elements(error_plot({"run": rows_}, 1e-5))
    heights = [float(a["cy"] or 0) for n, a in page.found if n == "circle"]
    assert len(heights) == 5 and heights == sorted(heights, reverse=True)
    limit = next(float(a["y1"] or 0) for n, a in page.found if a.get("class") == "limit")
    assert heights[2] > limit > heights[3]  # 1e-6 stands below the limit, 1e-3 above


def test_every_feature_is_explained() -> None:
    assert set(MEANING) == set(FEATURES)


def test_sizes_are_short() -> None:
    assert [size(n) for n in (128, 4096, 11_901_408_320)] == ["128", "4.1 k", "11.9 B"]


def test_a_file_of_another_form_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(OmniportError, match=r"ends in \.html or \.md"):
        form_of(tmp_path / "port.pdf")
    with pytest.raises(OmniportError, match="name one in a folder"):
        form_of(tmp_path / "missing" / "port.html")


def test_both_forms_are_written(report: PortReport, tmp_path: Path) -> None:
    write(report, [tmp_path / "port.html", tmp_path / "port.md"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["port.html", "port.md"]
    assert (tmp_path / "port.md").read_text().startswith("## flux")


LAYOUT = """(() => {
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const texts = [...document.querySelectorAll('svg.tree text:not(.band-label), svg.plot text')];
  const boxes = texts.map(t => [t.textContent, t.getBoundingClientRect(), t.closest('svg').getBoundingClientRect()]);
  const outside = boxes.filter(([, b, s]) => b.right > s.right + 1 || b.left < s.left - 1 || b.bottom > s.bottom + 1);
  const overlaps = [];
  for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
    const [, a] = boxes[i], [, b] = boxes[j];
    if (a.right - 1 > b.left && b.right - 1 > a.left && a.bottom - 4 > b.top && b.bottom - 4 > a.top)
      overlaps.push(boxes[i][0] + ' / ' + boxes[j][0]);
  }
  const hidden = [...document.querySelectorAll('h1, h2, svg')].filter(e => e.getBoundingClientRect().height < 8);
  return {wide, texts: texts.length, outside: outside.map(b => b[0]), overlaps, hidden: hidden.length};
})()"""


#: cells whose text stands in a column of a word or less
SQUEEZED = """[...document.querySelectorAll('table.fixed:not(.short) td')].filter(
  t => t.offsetParent && t.textContent.length > 40 && t.getBoundingClientRect().width < 100).map(t => t.textContent)"""


@pytest.mark.parametrize("which", ["report", "hostile"])
def test_how_the_page_looks_in_a_browser(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Nothing runs, asks for anything, sticks out or overlaps.  Without a browser the parsed page has to do."""
    subject: PortReport = request.getfixturevalue(which)
    path = tmp_path / "port.html"
    write(subject, [path])
    program = find_browser()
    if program is None:
        warnings.warn(
            "no Chromium found: the report was parsed, not looked at (OMNIPORT_BROWSER=PROGRAM)", stacklevel=1
        )
        assert Elements(path.read_text()).wrong == []
        return
    with browser(program) as page:
        page.open(path)
        layout = page.evaluate(LAYOUT)
        assert page.problems == []
        assert page.evaluate("document.querySelectorAll('script, img, iframe, a').length") == 0
        picture = page.picture(1000, 700)
        page.open(path, width=400)  # a telephone scrolls the pictures, not the page
        assert page.evaluate(LAYOUT)["wide"] == 0
        assert page.evaluate(SQUEEZED) == []
        path.write_text(path.read_text().replace("(max-width: 720px)", "(max-width: 1px)"))  # the broken twin
        page.open(path, width=400)
        assert page.evaluate(SQUEEZED) != []
    assert layout["texts"] > 30
    assert {**layout, "texts": 0} == {"wide": 0, "texts": 0, "outside": [], "overlaps": [], "hidden": 0}
    assert picture.startswith(b"\x89PNG") and len(picture) > 20_000


def test_the_look_is_judged_by_what_it_shows(report: PortReport, tmp_path: Path) -> None:
    """The broken twin: a page whose script runs and whose texts lie on each other is found."""
    program = find_browser()
    text = html(report)
    broken = text.replace("<meta http-equiv", "<meta data-was").replace(
        "</body>", "<script>throw new Error('ran')</script><img src='file:///nowhere.png'></body>"
    )
    broken = broken.replace('class="class"', 'class="class" transform="translate(-60 0)"')
    assert "script" in Elements(broken).names()
    if program is None:
        return
    path = tmp_path / "port.html"
    path.write_text(broken)
    with browser(program) as page:
        page.open(path)
        layout = page.evaluate(LAYOUT)
    assert layout["overlaps"] and any("nowhere" in p for p in page.problems) and len(page.problems) >= 2


def test_a_long_command_is_broken_where_a_shell_goes_on() -> None:
    short = "omniport verify tree --report port.html"
    assert folded(short) == short
    long = f"omniport scaffold org/{'m' * 40} --revision {'a' * 40} --name mine --into TREE"
    lines = folded(long).split("\n")
    assert len(lines) == 2 and lines[0].endswith(" \\") and max(map(len, lines)) <= 96
    words = shlex.split(folded(long).replace("\\\n", " "))
    assert words == shlex.split(long)


def test_a_feature_that_the_port_does_not_declare_alarms_nobody(report: PortReport) -> None:
    known = report.results["load"]
    refused = replace(known, feature="pp2", state="unsupported", declared=False)
    quiet = replace(report, results={"load": known, "pp2": refused})
    assert alarming(quiet) == set() and 'class="state unsupported"' not in html(quiet)
    loud = replace(report, results={"load": known, "pp2": replace(refused, declared=True)})
    assert alarming(loud) == {"unsupported"} and 'class="state unsupported"' in html(loud)
    assert '<span class="chip unsupported">1 unsupported</span>' in html(loud)
