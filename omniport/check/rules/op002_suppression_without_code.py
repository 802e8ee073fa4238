"""OP002: a suppression does not say which rule it is for."""

from __future__ import annotations

from collections.abc import Iterator

from omniport.check.model import Finding, Rule
from omniport.check.port import Port
from omniport.check.suppress import suppressions


class SuppressionWithoutCode(Rule):
    """A suppression does not say which rule it is for.

    ``# omniport: ignore`` without a code, or with one that is no rule.  It silences nothing.

    Why: a comment that silences every rule also hides the next mistake on that line, and one with a wrong code looks
    like an excuse that it is not.  Of the ports of vllm-omni 0.30.0 none needs one.

    Fix: ``# omniport: ignore[OP701] why it is right here``.
    """

    code = "OP002"
    name = "suppression-without-code"
    VALID = (
        """
        def build(size):
            return torch.zeros(size, device="cuda")  # omniport: ignore[OP701]
        """,
        """
        def build(size):
            return "omniport: ignore"
        """,
    )
    INVALID = (
        """
        def build(size):
            return torch.zeros(size, device="cuda")  # omniport: ignore
        """,
        """
        def build(size):
            return torch.zeros(size, device="cuda")  # omniport: ignore[OP9999]
        """,
    )

    def check(self, port: Port) -> Iterator[Finding]:
        from omniport.check.rules import rule_codes

        for file in port.files:
            for comment in suppressions(file):
                unknown = [code for code in comment.codes if code not in rule_codes()]
                if unknown or not comment.codes:
                    what = f"{', '.join(unknown)} is no rule" if unknown else "no code: write ignore[CODE]"
                    yield Finding(
                        self.code, file.path.as_posix(), comment.line, comment.col + 1, what, file.line(comment.line)
                    )
