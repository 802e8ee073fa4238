"""Values of the denoiser's constructor that the repository itself holds, each with the line it stands in.

Read are JSON and YAML files, dictionary literals, calls with literal keywords (``dict(...)``, a dataclass, the class
itself) and attributes of a settings object (``small.dim = 64``).  A value that is no literal is left out and named: it
is decided elsewhere, as is what code changes behind the reading.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from omniport.custom.code import CodeFile, CodeTree, nodes
from omniport.custom.facts import dotted
from omniport.custom.idioms.settings_object import Settings
from omniport.errors import OmniportError
from omniport.plan.custom import Candidate
from omniport.plan.model import Why
from omniport.records import dataclass
from omniport.strict_json import CONFIG_LIMIT, read_object

_DEPTH = 3  # sections within sections
_SETTINGS = frozenset({"EasyDict", "edict", "SimpleNamespace", "Namespace", "DictConfig", "ConfigDict", "AttrDict"})
_READS = frozenset({"json.load", "json.loads", "OmegaConf.load", "yaml.safe_load", "yaml.load", "load_config"})


@dataclass(frozen=True)
class Entry:
    """``text`` is the value as a Python literal."""

    key: str
    text: str
    file: str
    line: int

    @property
    def value(self) -> Any:
        return ast.literal_eval(self.text)


@dataclass(frozen=True)
class ConfigDict:
    """A set of constructor values; ``skipped`` are parameters whose value is no literal there."""

    name: str
    entries: tuple[Entry, ...]
    skipped: tuple[Why, ...]

    @property
    def values(self) -> dict[str, Any]:
        return {entry.key: entry.value for entry in self.entries}


@dataclass(frozen=True)
class Configs:
    """All sets found, and what the code changes of one after it was read."""

    dicts: tuple[ConfigDict, ...]
    changes: tuple[Why, ...]

    @property
    def chosen(self) -> ConfigDict | None:
        """The one set; None of several that differ, or where something is not shown."""
        distinct = {json.dumps(d.values, sort_keys=True, default=str) for d in self.dicts}
        found = self.dicts[0] if len(distinct) == 1 else None
        return found if found is not None and not found.skipped and not self.changes else None


_Pairs = dict[str, tuple[str | None, int]]  # key -> literal or None, line


def find(tree: CodeTree, backbone: Candidate, settings: Settings | None = None) -> Configs:
    """Configuration of the class ``backbone``, whose ``settings`` were one object."""
    file = next(f for f in tree.files if f.path == backbone.file)
    wanted, required = _parameters(tree, file, backbone.name)
    if settings is not None:
        wanted = (wanted - {settings.parameter}) | set(settings.fields)
        required = (required - {settings.parameter}) | (set(settings.fields) - settings.defaults.keys())
    found: list[ConfigDict] = []
    for name, path, pairs in _sets(tree, backbone.name):
        keys = [k for k in pairs if k in wanted]
        if len(keys) < 2 or not required <= set(keys) or len(keys) * 3 < len(wanted):
            continue
        entries = tuple(
            Entry(k, text, path, line) for k in keys if (text := pairs[k][0]) is not None for line in [pairs[k][1]]
        )
        skipped = tuple(Why(f"{k} is no literal", path, pairs[k][1]) for k in keys if pairs[k][0] is None)
        if entries:
            found.append(ConfigDict(_unique(name, [d.name for d in found]), entries, skipped))
    return Configs(tuple(found), tuple(dict.fromkeys(_changes(tree))) if found else ())


def _parameters(tree: CodeTree, file: CodeFile, name: str) -> tuple[set[str], set[str]]:
    """Parameters of the constructor, and those without a default."""
    seen = set()
    while name not in seen:
        seen.add(name)
        node = file.classes[name]
        init = next((m for m in node.body if isinstance(m, ast.FunctionDef) and m.name == "__init__"), None)
        if init is not None:
            args = init.args.args[1:]
            plain = {a.arg for a in args[: len(args) - len(init.args.defaults)]}
            keyword = {a.arg for a, d in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True) if d is None}
            return {a.arg for a in (*args, *init.args.kwonlyargs)}, plain | keyword
        base = next((r for b in node.bases if (r := tree.resolve(file, dotted(b))) is not None), None)
        if base is None:
            break
        file, name = base.file, base.name
    return set(), set()


# -------------------------------------------------------------------------------------------------------------- sources
def _sets(tree: CodeTree, cls: str) -> Iterator[tuple[str, str, _Pairs]]:
    """Every set of keys and values in the repository: a name, the file, and the pairs."""
    for path in tree.others:
        suffix = PurePosixPath(path).suffix
        if suffix in (".json", ".yaml", ".yml"):
            read = _json if suffix == ".json" else _yaml
            for pairs in read(tree, path):
                yield PurePosixPath(path).stem, path, pairs
    for file in tree.files:
        if not file.side or any(part in ("demo", "demos", "scripts", "examples", "tools") for part in file.parts):
            for name, pairs in _python(file, cls):
                yield name, file.path, pairs


def _json(tree: CodeTree, path: str) -> Iterator[_Pairs]:
    with (tree.root / path).open("rb") as file:
        data = file.read(CONFIG_LIMIT + 1)
    try:
        document = read_object(data, path, infinity=True)
    except OmniportError:
        return  # not every JSON file of a repository is a configuration
    yield {k: (_literal(v), document.lines.get(k, 1)) for k, v in document.value.items()}
    for key, inner in document.value.items():
        yield from _sections(inner, document.lines.get(key, 1), 1)


def _sections(value: Any, line: int, depth: int) -> Iterator[_Pairs]:
    """Objects within an object; their keys have the line of the outermost."""
    if isinstance(value, dict) and depth <= _DEPTH:
        yield {str(k): (_literal(v), line) for k, v in value.items()}
        for inner in value.values():
            yield from _sections(inner, line, depth + 1)


def _literal(value: Any) -> str | None:
    """ASCII only, so that no look-alike gets into code; None of what has no literal (infinity, a date)."""
    text = ascii(value)
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return text


def _yaml(tree: CodeTree, path: str) -> Iterator[_Pairs]:
    """By the composer alone, which makes no objects; a file with references (``&``, ``${...}``) gives what is plain."""
    import yaml

    with (tree.root / path).open("rb") as file:
        data = file.read(CONFIG_LIMIT + 1)
    if len(data) > CONFIG_LIMIT or b"&" in data:
        return
    try:
        root = yaml.compose(data, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return
    loader = yaml.SafeLoader(b"")

    def walk(node: Any, depth: int) -> Iterator[_Pairs]:
        if not isinstance(node, yaml.MappingNode) or depth > _DEPTH:
            return
        pairs: _Pairs = {}
        for key, value in node.value:
            try:
                plain = loader.construct_object(value, deep=True)
            except (yaml.YAMLError, ValueError):
                plain = object()
            referred = isinstance(plain, str) and "${" in plain
            pairs[str(key.value)] = (None if referred else _literal(plain), key.start_mark.line + 1)
        yield pairs
        for _, value in node.value:
            yield from walk(value, depth + 1)

    yield from walk(root, 0)


def _python(file: CodeFile, cls: str) -> Iterator[tuple[str, _Pairs]]:
    settings: dict[str, _Pairs] = {}
    names: dict[int, str] = {}
    for statement in file.statements:
        target, value = _assigned(statement)
        if isinstance(target, ast.Name) and value is not None:
            names |= {id(node): target.id for node in [value]}
            if isinstance(value, ast.Call) and dotted(value.func).rpartition(".")[2] in _SETTINGS:
                settings[target.id] = _pairs(value)
        elif value is not None and (held := _held(target)) in settings and isinstance(target, ast.Attribute):
            settings[held][target.attr] = (_source(value), value.lineno)
    yield from settings.items()
    for node in nodes(file.tree):
        if isinstance(node, ast.Dict) or (isinstance(node, ast.Call) and node.keywords):
            called = dotted(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""
            if called not in _SETTINGS and not (called == cls and not _pairs(node)):
                yield names.get(id(node), called if called not in ("", "dict") else file.parts[-1]), _pairs(node)


def _assigned(statement: ast.stmt) -> tuple[ast.expr | None, ast.expr | None]:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        return statement.targets[0], statement.value
    if isinstance(statement, ast.AnnAssign):
        return statement.target, statement.value
    return None, None


def _held(target: ast.expr | None) -> str:
    """``a`` of the target ``a.b`` or ``a["b"]``; empty of any other."""
    held = target.value if isinstance(target, ast.Attribute | ast.Subscript) else None
    return held.id if isinstance(held, ast.Name) else ""


def _pairs(node: ast.expr) -> _Pairs:
    if isinstance(node, ast.Dict):
        keyed = [(k.value, v) for k, v in zip(node.keys, node.values, strict=True) if isinstance(k, ast.Constant)]
        return {k: (_source(v), v.lineno) for k, v in keyed if isinstance(k, str)}
    if not isinstance(node, ast.Call):
        return {}
    pairs = {k.arg: (_source(k.value), k.value.lineno) for k in node.keywords if k.arg is not None}
    for arg in node.args:
        pairs |= _pairs(arg) if isinstance(arg, ast.Dict) else {}
    return pairs


def _source(node: ast.expr) -> str | None:
    """The literal as it is evaluated: no name of the repository gets into it."""
    try:
        return _literal(ast.literal_eval(node))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _changes(tree: CodeTree) -> Iterator[Why]:
    """Assignments to a configuration that was read from a file, in the same body."""
    for file in tree.files:
        bodies = [file.tree.body, *(n.body for n in nodes(file.tree) if isinstance(n, ast.FunctionDef))]
        for body in bodies:
            read: set[str] = set()
            for statement in body:
                for inner in [statement, *getattr(statement, "body", [])]:
                    target, value = _assigned(inner)
                    if isinstance(target, ast.Name) and value is not None:
                        calls = (dotted(n.func) for n in nodes(value) if isinstance(n, ast.Call))
                        if any(c in _READS or c.rpartition(".")[2] in ("from_json_file", "load_config") for c in calls):
                            read.add(target.id)
                    elif _held(target) in read:
                        yield file.why(f"{ast.unparse(inner)[:80]} after the configuration was read", inner)


def _unique(name: str, taken: list[str]) -> str:
    """``video`` -> ``VIDEO_CONFIG``."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    base = re.sub(r"\W+", "_", words, flags=re.ASCII).strip("_").upper() or "MODEL"
    base = f"_{base}" if base[0].isdigit() else base
    base = base if base.endswith(("CONFIG", "_CFG")) else f"{base}_CONFIG"
    found, number = base, 2
    while found in taken:
        found, number = f"{base}_{number}", number + 1
    return found
