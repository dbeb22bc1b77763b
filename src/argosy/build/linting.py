"""The build checks within a build: told once, kept for the notes, fatal when asked.

The checks themselves are in dockerfile/lint; `--check` and its kin are in calls.py.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from argosy.build.dockerfile.ignore import Matcher
from argosy.build.dockerfile.lint.findings import Finding, location
from argosy.build.dockerfile.lint.linter import Surroundings, lint
from argosy.build.dockerfile.parser import Dockerfile
from argosy.build.dockerfile.plan import BaseImage
from argosy.build.dockerfile.source import Source
from argosy.build.dockerfile.stages import FrontendOptions
from argosy.build.files.tree import Ignore
from argosy.observe import Event, Report


@dataclass(slots=True)
class Linting:
    """The checks of one build; its platforms share one Dockerfile, so the first one tells."""

    report: Report
    findings: tuple[Finding, ...] | None = None
    _source: Source | None = None

    def check(
        self,
        dockerfile: Dockerfile,
        options: FrontendOptions,
        configs: Mapping[BaseImage, Mapping[str, Any]],
        ignore: Ignore | None,
    ) -> None:
        """Check and tell, the first time; DockerfileError for findings where error=true is set."""
        if self.findings is not None:
            return
        matcher = ignore if isinstance(ignore, Matcher) else None
        seen = lint(dockerfile, options, Surroundings(bases=configs, ignore=matcher))
        self.findings, self._source = seen.findings, dockerfile.source
        for number, finding in enumerate(seen.findings):
            self.report(event_of(finding, number))
        if seen.violation:
            raise seen.violation

    def notes(self) -> list[dict[str, Any]]:
        """`buildx.build.warnings` of a metadata file."""
        source = self._source
        return [_note(f, source) for f in self.findings or ()] if source else []


def event_of(finding: Finding, number: int) -> Event:
    """A finding as a warning for whoever shows progress."""
    page = f" - {finding.rule.url}" if finding.rule.url else ""
    text = f"{finding.rule.name}: {finding.detail}{page}"
    return Event("warning", f"check-{number}", str(finding.where), text=text)


def _note(finding: Finding, source: Source) -> dict[str, Any]:
    """As BuildKit's client.VertexWarning is in JSON."""
    text = f"{finding.rule.name}: {finding.detail} (line {finding.where.first})"
    note = {
        "level": 1,
        "short": _base64(text),
        "detail": [_base64(finding.rule.description)],
        "url": finding.rule.url,
        "sourceInfo": {
            "filename": source.file,
            "data": _base64("\n".join(source.lines)),
            "language": "Dockerfile",
        },
        "range": location(finding.where).get("ranges", []),
    }
    return {name: value for name, value in note.items() if value}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
