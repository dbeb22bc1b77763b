"""A build of the history as buildx prints it."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from argosy.cli.terminal.units import ago, human_time

if TYPE_CHECKING:
    from argosy.build.history.record import BuildRecord


def listed(record: "BuildRecord", now: float, longest: int | None) -> tuple[str, ...]:
    """Its line in the list."""
    name = record.name
    if longest is not None and len(name) > longest:
        name = name[: longest - 1] + "…"
    took = record.duration or (now - record.started if record.status == "running" else 0)
    return (
        record.ref,
        name,
        record.status.capitalize(),
        ago(now - record.started),
        human_time(took) if took else "",
    )


def fields(record: "BuildRecord") -> dict[str, Any]:
    """What a template of Go's can ask for, by buildx's names."""
    git = record.git
    return record.to_json() | {
        "Ref": record.ref,
        "Name": record.name,
        "Status": record.status.capitalize(),
        "CreatedAt": _time(record.started),
        "StartedAt": _time(record.started),
        "CompletedAt": _time(record.completed) if record.completed else "",
        "Duration": record.duration,
        "TotalSteps": record.total,
        "CachedSteps": record.cached,
        "CompletedSteps": sum(1 for s in record.steps if s.get("status") in ("done", "cached")),
        "Repository": git.get("remote", ""),
        "VCSRepository": git.get("remote", ""),
        "VCSRevision": git.get("commit", ""),
        "Context": record.context,
        "Dockerfile": record.dockerfile,
        "Target": record.target,
        "Platform": list(record.platforms),
        "Digest": record.digest,
        "Error": dict(record.error),
    }


def pretty(record: "BuildRecord") -> str:
    """All that matters of it, in paragraphs."""
    options, git = record.options, record.git
    dirty = " (with changes)" if git.get("is_dirty") else ""
    parts = [
        _facts(
            {
                "Name": record.name,
                "Ref": record.ref,
                "Context": record.context,
                "Dockerfile": record.dockerfile,
                "VCS Repository": git.get("remote", ""),
                "VCS Revision": git["commit"] + dirty if git.get("commit") else "",
                "Target": record.target,
                "Platforms": ", ".join(record.platforms),
            }
        ),
        _facts(
            {
                "Started": _time(record.started),
                "Duration": human_time(record.duration or time.time() - record.started),
                "Status": record.status.capitalize(),
                "Build Steps": _steps(record),
            }
        ),
        _error(record.error),
        _facts({"Digest": record.digest, "Names": ", ".join(record.names)}),
        _table("Outputs", {o["type"]: o.get("dest", "") for o in options.get("outputs", ())}),
        _table("Build Args", options.get("build_args", {})),
        _table("Labels", options.get("labels", {})),
        _table("Named Contexts", options.get("build_contexts", {})),
        _facts(
            {
                title: ", ".join(options.get(name, ()))
                for name, title in (
                    ("secrets", "Secrets"),
                    ("ssh", "SSH"),
                    ("cache_from", "Cache From"),
                    ("cache_to", "Cache To"),
                )
            }
        ),
        "".join(f"Warning: {w.get('detail') or w.get('rule') or w}\n" for w in record.warnings),
        f"Print its logs: argosy history logs {record.ref}\n",
    ]
    return "\n".join(filter(None, parts))


def _steps(record: "BuildRecord") -> str:
    if record.total:
        return f"{record.total} ({record.cached * 100 // record.total}% cached)"
    done = sum(1 for s in record.steps if s.get("status") in ("done", "cached"))
    return f"{done} done" if record.steps else ""


def _error(error: Mapping[str, Any]) -> str:
    if not error:
        return ""
    place = f"{error['file']}:{error['line']}" if error.get("line") else ""
    facts = {"Error": error.get("summary", ""), "Why": error.get("why", ""), "At": place}
    facts["Help"] = error.get("remedy", "")
    output = "".join(f"  {line}\n" for line in str(error.get("output", "")).splitlines())
    return _facts(facts) + output


def _facts(facts: Mapping[str, str]) -> str:
    kept = {name: value for name, value in facts.items() if value}
    width = max(map(len, kept), default=0) + 3
    return "".join(f"{name + ':':{width}}{value}\n" for name, value in kept.items())


def _table(title: str, rows: Mapping[str, str]) -> str:
    if not rows:
        return ""
    width = max(len(title), *map(len, rows)) + 3
    head = f"{title.upper():{width}}VALUE\n"
    return head + "".join(f"{k:{width}}{v}".rstrip() + "\n" for k, v in rows.items())


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
