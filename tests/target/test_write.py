"""Files are written all or not at all, only inside the root, and only over what is ours."""

import json
import os
import shutil
import signal
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from omniport.errors import FindingsError, OmniportError
from omniport.target import journal, manifest
from omniport.target.journal import Write, commit, recover
from omniport.target.paths import confine, sha256
from omniport.target.registry import read_text
from omniport.target.write import FileChange, apply, diff, prepare, require_writable
from tests.support.ports import snapshot
from tests.target.test_manifest import made, saved

CREATE = FileChange("new/deep/b.py", "x = 1\n", "create")
EDIT = FileChange("old.py", "y = 2\n", "edit")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "a tree"
    folder.mkdir()
    (folder / "old.py").write_bytes(b"y = 1\n")
    (folder / "old.py").chmod(0o640)
    return folder


def test_create_and_edit(root: Path):
    prepared = prepare(root, [CREATE, EDIT], package=None)
    assert [(f.path, f.verb) for f in prepared.files] == [("new/deep/b.py", "create"), ("old.py", "edit")]
    assert not (root / "new").exists()
    apply(prepared)
    assert (root / "new/deep/b.py").read_text() == "x = 1\n"
    assert (root / "old.py").read_text() == "y = 2\n"
    assert stat.S_IMODE((root / "old.py").stat().st_mode) == 0o640
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((root / "new/deep/b.py").stat().st_mode) == 0o666 & ~umask
    left = {p.relative_to(root).as_posix() for p in root.rglob("*")}
    assert left == {".omniport", "new", "new/deep", "new/deep/b.py", "old.py"}


def test_a_second_run_writes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch):
    apply(prepare(root, [CREATE, EDIT], package=None))
    before = snapshot(root)
    times = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    monkeypatch.setattr(journal, "_write_all", lambda *_: pytest.fail("wrote something"))
    prepared = prepare(root, [CREATE, EDIT], package=None)
    assert {f.verb for f in prepared.files} == {"identical"}
    apply(prepared)
    assert snapshot(root) == before
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == times


def test_line_endings_and_marks_reach_the_disk(root: Path):
    apply(prepare(root, [FileChange("old.py", "\ufeffy = 2\r\nz = 3\n", "edit")], package=None))
    assert (root / "old.py").read_bytes() == b"\xef\xbb\xbfy = 2\r\nz = 3\n"
    assert read_text(root / "old.py") == "\ufeffy = 2\r\nz = 3\n"


@pytest.mark.parametrize("text", ["def (\n", "return 1\n", "x = '\0'\n", "a = " + "(" * 5000])
def test_what_does_not_compile_is_not_written(root: Path, text: str):
    with pytest.raises(OmniportError, match="not valid"):
        prepare(root, [FileChange("new.py", text, "create"), EDIT], package=None)


def test_what_does_not_resolve_is_not_written(root: Path):
    with pytest.raises(OmniportError, match=r"new\.py:1: json\.nothing"):
        prepare(root, [FileChange("new.py", "from json import nothing\n", "create")], package=None)
    prepared = prepare(root, [FileChange("new.py", "from no_such_package import x\n", "create")], package=None)
    assert [u.name for u in prepared.resolution.unchecked] == ["no_such_package.x"]


def test_files_of_others_are_kept(root: Path):
    change = FileChange("old.py", "y = 2\n", "create")
    prepared = prepare(root, [change, CREATE], package=None)
    assert [(f.path, f.reason) for f in prepared.conflicts] == [("old.py", "not written by omniport")]
    before = snapshot(root)
    with pytest.raises(FindingsError, match=r"old\.py: not written by omniport") as error:
        apply(prepared)
    assert error.value.exit_code == 1
    assert snapshot(root) == before
    apply(prepare(root, [change], package=None, force=True))
    assert (root / "old.py").read_text() == "y = 2\n"


def test_our_own_files_are_replaced_until_somebody_edits_them(root: Path):
    port = made()
    entry = manifest.FileEntry("toy.py", sha256("x = 1\n"), "create")
    saved(root, type(port)(**{**vars(port), "files": (entry,)}))
    (root / "toy.py").write_text("x = 1\n")
    change = FileChange("toy.py", "x = 2\n", "create")
    assert prepare(root, [change], package=None).files[0].verb == "edit"
    (root / "toy.py").write_text("x = 1  # mine\n")
    conflict = prepare(root, [change], package=None).conflicts
    assert conflict[0].reason == "edited since it was written"


def test_a_manifest_replaces_only_a_manifest(root: Path):
    change = FileChange(".omniport/toy.json", manifest.dumps(made()), "manifest")
    apply(prepare(root, [change], package=None))
    newer = FileChange(change.path, change.content.replace("toy/toy-dev", "toy/toy-2"), "manifest")
    assert prepare(root, [newer], package=None).files[0].verb == "edit"
    (root / ".omniport" / "toy.json").write_text("{}")
    with pytest.raises(OmniportError, match="no valid manifest"):
        prepare(root, [newer], package=None)


def test_an_edit_of_another_text_is_a_conflict(root: Path):
    stale = FileChange("old.py", "y = 2\n", "edit", base=sha256("y = 0\n"))
    assert prepare(root, [stale], package=None).conflicts
    fresh = FileChange("old.py", "y = 2\n", "edit", base=sha256("y = 1\n"))
    prepared = prepare(root, [fresh], package=None)
    assert not prepared.conflicts
    (root / "old.py").write_text("y = 7\n")
    with pytest.raises(FindingsError, match="changed while"):
        apply(prepared)
    assert prepare(root, [FileChange("gone.py", "", "edit")], package=None).conflicts


def test_two_files_of_one_name_are_refused(root: Path):
    with pytest.raises(OmniportError, match="two files"):
        prepare(root, [CREATE, FileChange("NEW/deep/b.py", "", "create")], package=None)


def test_diff(root: Path):
    edit, create = prepare(root, [FileChange("old.py", "y = 2", "edit"), CREATE], package=None).files
    assert diff(edit).splitlines() == [
        "--- a/old.py",
        "+++ b/old.py",
        "@@ -1 +1 @@",
        "-y = 1",
        "+y = 2",
        "\\ No newline at end of file",
    ]
    assert diff(create).startswith("--- /dev/null\n+++ b/new/deep/b.py\n")
    apply(prepare(root, [EDIT], package=None))
    assert diff(prepare(root, [EDIT], package=None).files[0]) == ""


@pytest.mark.parametrize(
    "name", ["", "/etc/x", "../x", "a/../../x", "a/./x", "a//x", "a\\x", "a\0x", "C:x", ".", "..", "a\nb", "a/"]
)
def test_names_that_leave_the_root(root: Path, name: str):
    with pytest.raises(OmniportError):
        confine(root, name)


def test_links_that_leave_the_root(root: Path, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f.py").write_text("mine\n")
    (root / "folder").symlink_to(outside)
    (root / "file.py").symlink_to(outside / "f.py")
    (root / "dangling.py").symlink_to(outside / "none.py")
    for name in ("folder/f.py", "folder/new.py", "file.py", "dangling.py"):
        with pytest.raises(OmniportError, match="symbolic link"):
            prepare(root, [FileChange(name, "x = 1\n", "create")], package=None, force=True)
    assert (outside / "f.py").read_text() == "mine\n"
    (root / "state").mkdir()
    (root / ".omniport").symlink_to(outside)
    with pytest.raises(OmniportError, match="symbolic link"):
        commit(root, [Write("state/x", b"")])
    assert sorted(p.name for p in outside.iterdir()) == ["f.py"]


def test_a_folder_in_the_way(root: Path):
    (root / "new" / "deep" / "b.py").mkdir(parents=True)
    with pytest.raises(OmniportError, match="no file"):
        prepare(root, [CREATE], package=None)


def test_a_linked_root_and_links_inside_it(root: Path, tmp_path: Path):
    (root / "real").mkdir()
    (root / "inner").symlink_to(root / "real")
    (tmp_path / "link").symlink_to(root)
    apply(prepare(tmp_path / "link", [FileChange("inner/x.py", "x = 1\n", "create")], package=None))
    assert (root / "real" / "x.py").read_text() == "x = 1\n"
    assert (root / "inner").is_symlink()


WRITES = [Write("old.py", b"y = 2\n"), Write("new/deep/b.py", b"x = 1\n"), Write("new/c.py", b"z = 1\n")]


class Broken(OSError):
    pass


@pytest.mark.parametrize("call", range(1, 5))
def test_an_error_in_the_middle_restores_everything(root: Path, monkeypatch: pytest.MonkeyPatch, call: int):
    before = snapshot(root)
    calls = []
    replace = os.replace

    def failing(*arguments, **named):
        calls.append(arguments)
        if len(calls) == call:
            raise Broken(28, "No space left on device", str(arguments[1]))
        return replace(*arguments, **named)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OmniportError, match="No space left on device; nothing was changed"):
        commit(root, WRITES)
    assert len(calls) >= call
    assert snapshot(root) == before
    commit(root, WRITES)
    assert (root / "new" / "c.py").read_bytes() == b"z = 1\n"


def test_an_interrupt_restores_everything(root: Path, monkeypatch: pytest.MonkeyPatch):
    before = snapshot(root)
    original = journal._replace

    def interrupted(place: Path, content: bytes):
        original(place, content)
        if place.name == "b.py":
            raise KeyboardInterrupt

    monkeypatch.setattr(journal, "_replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        commit(root, WRITES)
    assert snapshot(root) == before


STEPS = ("mkdir", "replace", "unlink", "rename", "open", "rmdir")


def killed_at(root: Path, step: int, what) -> bool:
    """Run ``what`` in a child that is killed at its ``step``-th change of the disk; whether it was."""
    child = os.fork()
    if not child:
        count = 0

        def counting(function):
            def run(*arguments, **named):
                nonlocal count
                count += 1
                if count == step:
                    os._exit(9)
                return function(*arguments, **named)

            return run

        for name in STEPS:
            setattr(os, name, counting(getattr(os, name)))
        try:
            what()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def kill_at_every_step(root: Path, writes: Sequence[Write]) -> tuple[int, int]:
    """How often the old tree, and the new one, was there after a kill at each of the steps and a recovery."""
    (root / ".omniport").mkdir()
    before = snapshot(root)
    step, old, new = 0, 0, 0
    while True:
        step += 1
        killed = killed_at(root, step, lambda: commit(root, writes))
        recover(root)
        now = snapshot(root)
        if now == before:
            old += 1
        else:
            written = {w.path: (root / w.path).read_bytes() if (root / w.path).exists() else None for w in writes}
            assert written == {w.path: w.content for w in writes}
            assert not [p for p in now if "omniport-new" in p or "journal" in p]
            new += 1
            shutil.rmtree(root / "new")
            (root / "old.py").write_bytes(b"y = 1\n")
            (root / "old.py").chmod(0o640)
        if not killed:
            return old, new


def test_a_kill_at_any_step_leaves_the_old_tree_or_the_new(root: Path):
    old, new = kill_at_every_step(root, WRITES)
    assert old > 10 and new > 1, (old, new)


def test_a_kill_during_recovery_is_recovered(root: Path):
    (root / ".omniport").mkdir()
    before = snapshot(root)
    for step in range(1, 12):
        for first in range(1, 40):
            if killed_at(root, first, lambda: commit(root, WRITES)) and (root / ".omniport/journal.json").exists():
                break
        else:
            pytest.fail("no journal was left")
        killed_at(root, step, lambda: recover(root))
        recover(root)
        assert snapshot(root) == before


DELETES = [Write("old.py", None), Write("new/c.py", b"z = 1\n"), Write("gone.py", None)]


def test_a_kill_while_deleting_leaves_the_old_tree_or_the_new(root: Path):
    old, new = kill_at_every_step(root, DELETES)
    assert old > 5 and new > 1, (old, new)


def test_a_kill_while_a_deletion_is_undone(root: Path):
    (root / ".omniport").mkdir()
    before = snapshot(root)
    for step in range(1, 10):
        for first in range(1, 40):
            killed = killed_at(root, first, lambda: commit(root, DELETES))
            if killed and (root / ".omniport/journal.json").exists() and not (root / "old.py").exists():
                break
            recover(root)
        else:
            pytest.fail("no deletion was cut off")
        killed_at(root, step, lambda: recover(root))
        recover(root)
        assert snapshot(root) == before


def test_folders_that_are_left_empty_go(root: Path):
    commit(root, [Write("new/deep/b.py", b""), Write("new/c.py", b"")])
    (root / "new/deep/__pycache__").mkdir()
    (root / "new/deep/__pycache__/b.pyc").write_bytes(b"x")
    commit(root, [Write("new/deep/b.py", None)])
    journal.drop_empty_folders(root, ["new/deep/b.py"])
    assert sorted(p.name for p in (root / "new").iterdir()) == ["c.py"]
    commit(root, [Write("new/c.py", None)])
    journal.drop_empty_folders(root, ["new/c.py"])
    assert not (root / "new").exists() and root.is_dir()


def test_a_full_disk(root: Path):
    """No file may grow past a few bytes: the first that is larger cannot be written, and nothing changes."""
    resource = pytest.importorskip("resource")
    before = snapshot(root)
    writes = [Write("old.py", b"y = 2\n"), Write("new/large.py", b"# x\n" * 4000)]
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))
            commit(root, writes)
            os.write(write, b"written")
        except OmniportError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    message = os.read(read, 1000).decode()
    assert "large.py" in message and "nothing was changed" in message
    assert snapshot(root) == before
    commit(root, writes)
    assert (root / "new/large.py").stat().st_size == 16000


def test_an_edit_after_a_kill_is_kept(root: Path):
    (root / ".omniport").mkdir()
    for step in range(1, 60):
        killed_at(root, step, lambda: commit(root, WRITES))
        if (root / "new" / "c.py").exists() and (root / ".omniport/journal.json").exists():
            break
        recover(root)
    (root / "old.py").write_text("y = 'mine'\n")
    assert recover(root)
    assert (root / "old.py").read_text() == "y = 'mine'\n"
    assert not (root / "new").exists()


@pytest.mark.parametrize("text", ["", "{}", '{"schema": 1, "entries": [{}], "folders": []}', "[" * 100_000])
def test_a_damaged_journal_is_named(root: Path, text: str):
    (root / ".omniport").mkdir()
    (root / ".omniport" / "journal.json").write_text(text)
    with pytest.raises(OmniportError, match=r"journal\.json: damaged"):
        recover(root)


def test_a_hostile_journal_stays_inside(root: Path, tmp_path: Path):
    (tmp_path / "victim").write_text("mine")
    digest = sha256("mine")
    (root / ".omniport").mkdir()
    (root / ".omniport" / "journal.json").write_text(
        json.dumps({"schema": 1, "folders": [], "entries": [{"path": "../victim", "before": None, "after": digest}]})
    )
    with pytest.raises(OmniportError):
        recover(root)
    assert (tmp_path / "victim").read_text() == "mine"


def test_nothing_to_recover(root: Path, tmp_path: Path):
    assert not recover(root)
    assert not recover(tmp_path / "nowhere")


def test_one_writer_at_a_time(root: Path):
    with journal._lock(root), pytest.raises(OmniportError, match="another omniport"):
        commit(root, WRITES)
    commit(root, WRITES)


def test_a_root_that_is_not_there_yet(tmp_path: Path):
    apply(prepare(tmp_path / "p" / "q", [CREATE], package=None))
    assert (tmp_path / "p/q/new/deep/b.py").is_file()


def test_no_permission(root: Path, monkeypatch: pytest.MonkeyPatch):
    require_writable(root, [root / "old.py"])
    require_writable(root / "not" / "yet")
    with pytest.raises(OmniportError, match="no folder"):
        require_writable(root / "old.py")
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "old.py" and real(path, mode))
    with pytest.raises(OmniportError, match="no permission to write"):
        require_writable(root, [root / "old.py"])


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_read_only_folder(root: Path):
    root.chmod(0o555)
    try:
        with pytest.raises(OmniportError):
            require_writable(root)
        with pytest.raises(OmniportError, match="nothing was changed"):
            commit(root, WRITES)
    finally:
        root.chmod(0o755)
    assert [p.name for p in root.iterdir()] == ["old.py"]


def test_a_read_only_disk(root: Path, monkeypatch: pytest.MonkeyPatch):
    before = snapshot(root)

    def refuse(path, *_):
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(OmniportError, match="Read-only file system"):
        commit(root, WRITES)
    assert snapshot(root) == before
