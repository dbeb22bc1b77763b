"""What a check found, as a value."""

from dataclasses import asdict
from typing import Any, Literal

from argosy.errors import ArgosyError
from argosy.values import frozen

State = Literal["ok", "warn", "fail", "skip"]
_MARKS: dict[State, str] = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL", "skip": "--  "}


@frozen(kw_only=True)
class Finding:
    """One check's verdict, the evidence for it, and the next command or step."""

    check: str
    state: State
    summary: str
    evidence: tuple[str, ...] = ()
    next: str = ""

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "evidence": list(self.evidence)}


def failed(check: str, error: ArgosyError, *evidence: str) -> Finding:
    """An error as a finding."""
    said = (error.why, *evidence) if error.why else evidence
    return Finding(
        check=check, state="fail", summary=error.summary, evidence=said, next=error.remedy
    )


def words(finding: Finding) -> str:
    """A finding for people."""
    lines = [f"{_MARKS[finding.state]} {finding.check:8} {finding.summary}"]
    lines += [f"{'':13} {line}" for text in finding.evidence for line in text.splitlines()]
    if finding.next:
        first, *rest = finding.next.splitlines()
        lines += [f"{'':13} do: {first}", *(f"{'':17} {line}" for line in rest)]
    return "\n".join(lines)
