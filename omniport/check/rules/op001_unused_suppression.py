"""OP001: a suppression silences nothing."""

from __future__ import annotations

from collections.abc import Iterator

from omniport.check.model import Edit, Finding, Rule
from omniport.check.port import Port
from omniport.check.source import SourceFile
from omniport.check.suppress import Suppression, suppressions


class UnusedSuppression(Rule):
    """A suppression silences nothing.

    ``# omniport: ignore[CODE]`` stands on, or alone above, a line where the rule finds nothing.

    Why: what it excused is gone, and it would silence the next mistake of the same kind unseen.  The linters of Ruff
    and of Hugging Face report such comments for the same reason; vllm-omni 0.30.0 itself holds none.

    Fix: delete the comment (done by ``--fix``).
    """

    code = "OP001"
    name = "unused-suppression"
    VALID = (
        """
        def build(size):
            return torch.zeros(size, device="cuda")  # omniport: ignore[OP701] a CUDA kernel follows
        """,
        """
        def build(size):
            # omniport: ignore[OP701]
            return torch.zeros(size, device="cuda")
        """,
    )
    INVALID = (
        """
        def build(size, device):
            return torch.zeros(size, device=device)  # omniport: ignore[OP701]
        """,
        """
        def build(size):
            return torch.zeros(size, device="cuda")  # omniport: ignore[OP701, OP702]
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        from omniport.check.rules import load_rules

        rules = load_rules()
        places: dict[str, set[tuple[str, int]]] = {}
        for file in port.files:
            for comment in suppressions(file):
                for code in comment.codes:
                    if code not in rules or code == self.code:
                        continue  # OP002 reports what is no code
                    if code not in places:
                        places[code] = {(f.path, f.line) for f in rules[code].check(port)}
                    if (file.path.as_posix(), comment.target) not in places[code]:
                        message = f"{code} finds nothing here"
                        shown = file.line(comment.line)
                        fix = _without(file, comment, code)
                        yield Finding(
                            self.code, file.path.as_posix(), comment.line, comment.col + 1, message, shown, fix
                        )


def _without(file: SourceFile, comment: Suppression, code: str) -> tuple[Edit, ...]:
    """Take the comment away, or the one code out of several; the text of a line is ASCII here, or nothing is done."""
    line = file.text.splitlines()[comment.line - 1]
    if not line.isascii():
        return ()
    rest = [c for c in comment.codes if c != code]
    if rest:
        text = line[comment.col : comment.end_col]
        start, end = text.index("["), text.index("]")
        text = f"{text[:start]}[{', '.join(rest)}]{text[end + 1 :]}"
        return (Edit(comment.line, comment.col, comment.line, comment.end_col, text),)
    if line[: comment.col].strip():
        return (Edit(comment.line, len(line[: comment.col].rstrip()), comment.line, comment.end_col, ""),)
    return (Edit(comment.line, 0, comment.line + 1, 0, ""),)
