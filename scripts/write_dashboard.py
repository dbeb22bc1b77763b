"""Writes deploy/grafana/argosy.json from the table below, and the metrics in docs/operations.md.

    .venv/bin/python scripts/write_dashboard.py

Each panel answers one question. A test holds the file to this table, and every
expression to the metrics that exist.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent.parent / "deploy" / "grafana" / "argosy.json"
PAGE = Path(__file__).parent.parent / "docs" / "operations.md"
_BEGIN = "<!-- metrics: written by scripts/write_dashboard.py -->"
_END = "<!-- end of metrics -->"
_WIDE, _HIGH = 8, 7
_HERE = 'job=~"$job",instance=~"$instance"'


@dataclass(frozen=True)
class Panel:
    """A question, the unit, and by their legends the expressions that answer it."""

    title: str
    about: str
    unit: str
    queries: dict[str, str]


def rate(metric: str, by: str = "", where: str = "") -> str:
    """The sum of rates, split by labels."""
    chosen = f"{metric}{{{_HERE}{',' + where if where else ''}}}"
    split = f" by ({by})" if by else ""
    return f"sum{split} (rate({chosen}[$__rate_interval]))"


def share(part: str, rest: str, by: str) -> str:
    """How much of two counters the first one is."""
    return f"{rate(part, by)} / ({rate(part, by)} + {rate(rest, by)})"


def quantile(part: float, metric: str, by: str = "", where: str = "") -> str:
    """A quantile of a histogram, split by labels."""
    inner = rate(f"{metric}_bucket", f"le, {by}" if by else "le", where)
    return f"histogram_quantile({part}, {inner})"


def gauge(function: str, metric: str, by: str = "") -> str:
    """A gauge over all instances."""
    return f"{function}{f' by ({by})' if by else ''} ({metric}{{{_HERE}}})"


_PROJECT = 'project=~"$project"'
_PULLS = 'route="manifests",method="GET"'
ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Is it well?",
        (
            Panel(
                "Ready",
                "What each server needs: 1 works, 0 does not. GET /readyz says why.",
                "none",
                {"{{instance}} {{check}}": gauge("min", "argosy_ready", "instance, check")},
            ),
            Panel(
                "Requests",
                "By status; 401 is how clients learn where to log in, 404 how they look for what is new.",
                "reqps",
                {"{{status}}": rate("argosy_http_requests_total", "status")},
            ),
            Panel(
                "Failing share of the requests",
                "Answers 5xx of all answers.",
                "percentunit",
                {
                    "5xx": rate("argosy_http_requests_total", "", 'status=~"5.."')
                    + " / "
                    + rate("argosy_http_requests_total")
                },
            ),
            Panel(
                "Time of pulling a manifest",
                "What every pull begins with.",
                "s",
                {
                    "median": quantile(0.5, "argosy_http_request_seconds", "", _PULLS),
                    "99 %": quantile(0.99, "argosy_http_request_seconds", "", _PULLS),
                },
            ),
            Panel(
                "Connections",
                "Open ones of clients; server.max_connections bounds each process.",
                "none",
                {"{{instance}}": gauge("sum", "argosy_http_connections", "instance")},
            ),
            Panel(
                "Versions and processes",
                "What runs where; more than one version means a rolling upgrade.",
                "none",
                {
                    "{{instance}} processes": gauge("sum", "argosy_workers", "instance"),
                    "version {{version}}": gauge("count", "argosy_build_info", "version"),
                },
            ),
        ),
    ),
    (
        "Pulls and pushes, by project",
        (
            Panel(
                "Pulls",
                "Of manifests: about one or two per image pulled.",
                "reqps",
                {
                    "{{project}}": rate(
                        "argosy_pulls_total", "project", 'kind="manifest",' + _PROJECT
                    )
                },
            ),
            Panel(
                "Pushes",
                "Of manifests: one or more per image pushed.",
                "reqps",
                {
                    "{{project}}": rate(
                        "argosy_pushes_total", "project", 'kind="manifest",' + _PROJECT
                    )
                },
            ),
            Panel(
                "Pulls and pushes that did not succeed",
                "By outcome; missing and denied are the clients', failed is ours.",
                "reqps",
                {
                    "pull {{outcome}}": rate(
                        "argosy_pulls_total", "outcome", 'outcome!~"ok|redirected",' + _PROJECT
                    ),
                    "push {{outcome}}": rate(
                        "argosy_pushes_total", "outcome", 'outcome!="ok",' + _PROJECT
                    ),
                },
            ),
            Panel(
                "Bytes out",
                "Through this server; what was redirected to the object storage does not count.",
                "Bps",
                {"{{project}}": rate("argosy_pulled_bytes_total", "project", _PROJECT)},
            ),
            Panel(
                "Bytes in",
                "Pushed.",
                "Bps",
                {"{{project}}": rate("argosy_pushed_bytes_total", "project", _PROJECT)},
            ),
            Panel(
                "Time of a transfer",
                "Manifests and blobs to the last byte, at the 95th percentile.",
                "s",
                {
                    "{{direction}} {{outcome}}": quantile(
                        0.95, "argosy_transfer_seconds", "direction, outcome", _PROJECT
                    )
                },
            ),
            Panel(
                "Largest projects",
                "What they use, and what they may.",
                "bytes",
                {
                    "{{project}}": gauge("max", "argosy_project_bytes", "project"),
                    "{{project}} quota": gauge("max", "argosy_project_quota_bytes", "project"),
                },
            ),
            Panel(
                "Refused by a limit",
                "Quotas refuse pushes; limits slow or refuse requests.",
                "reqps",
                {
                    "quota {{limit}}": rate("argosy_quota_refusals_total", "limit"),
                    "limit {{limit}}": rate("argosy_throttled_total", "limit"),
                },
            ),
        ),
    ),
    (
        "Uploads and storage",
        (
            Panel(
                "Uploads",
                "Under way in the servers, and begun but not finished anywhere.",
                "none",
                {
                    "under way": gauge("sum", "argosy_uploads"),
                    "unfinished": gauge("max", "argosy_uploads_unfinished"),
                },
            ),
            Panel(
                "Oldest unfinished upload",
                "The sweeper removes it after uploads.ttl.",
                "s",
                {"oldest": gauge("max", "argosy_upload_oldest_seconds")},
            ),
            Panel(
                "Bytes of blobs received",
                "All projects.",
                "Bps",
                {"in": rate("argosy_received_bytes_total")},
            ),
            Panel(
                "Storage errors",
                "Requests that failed because of the disk, the object storage or the database.",
                "reqps",
                {"{{kind}}": rate("argosy_storage_errors_total", "kind")},
            ),
            Panel(
                "Calls of the object storage",
                "Each try; slow_down and timeout are tried again.",
                "reqps",
                {
                    "{{operation}} {{outcome}}": rate(
                        "argosy_s3_requests_total", "operation, outcome"
                    ),
                    "tried again": rate("argosy_s3_retries_total"),
                },
            ),
            Panel(
                "Time of the object storage",
                "At the 95th percentile.",
                "s",
                {"{{operation}}": quantile(0.95, "argosy_s3_request_seconds", "operation")},
            ),
        ),
    ),
    (
        "Database and memory",
        (
            Panel(
                "Time of transactions",
                "At the 95th percentile.",
                "s",
                {"{{kind}}": quantile(0.95, "argosy_database_seconds", "kind")},
            ),
            Panel(
                "Waiting for the database",
                "For a connection of the pool, or for one's turn to write: at the 95th percentile.",
                "s",
                {"{{kind}}": quantile(0.95, "argosy_database_wait_seconds", "kind")},
            ),
            Panel(
                "Connections in use",
                "Of database.pool in each process.",
                "none",
                {"{{instance}}": gauge("sum", "argosy_database_connections", "instance")},
            ),
            Panel(
                "Writes per commit",
                "SQLite: how many writes share one fsync.",
                "none",
                {
                    "mean": rate("argosy_database_batch_size_sum")
                    + " / "
                    + rate("argosy_database_batch_size_count")
                },
            ),
            Panel(
                "Transactions that had trouble",
                "Tried again, or failed for good.",
                "ops",
                {
                    "again: {{reason}}": rate("argosy_database_retries_total", "reason"),
                    "failed: {{kind}}": rate("argosy_database_errors_total", "kind"),
                },
            ),
            Panel(
                "Answered from memory",
                "The share of lookups that needed no database.",
                "percentunit",
                {
                    "{{cache}}": share(
                        "argosy_cache_hits_total", "argosy_cache_misses_total", "cache"
                    )
                },
            ),
        ),
    ),
    (
        "Access and audit",
        (
            Panel(
                "Logins",
                "By what was shown and what came of it.",
                "reqps",
                {"{{credential}} {{outcome}}": rate("argosy_logins_total", "credential, outcome")},
            ),
            Panel(
                "Denials",
                "anonymous: clients that are asked who they are, as each is at first.",
                "reqps",
                {"{{reason}}": rate("argosy_denials_total", "reason")},
            ),
            Panel(
                "Tokens issued",
                "By kind.",
                "reqps",
                {"{{kind}}": rate("argosy_tokens_issued_total", "kind")},
            ),
            Panel(
                "Audit entries that wait",
                "To be written (denials), to be chained, and to be forwarded.",
                "none",
                {
                    "to be written": gauge("sum", "argosy_audit_buffered"),
                    "to be chained": gauge("max", "argosy_audit_unsealed"),
                    "for {{to}}": gauge("max", "argosy_audit_forward_lag", "to"),
                },
            ),
            Panel(
                "Audit entries",
                "Chained, forwarded, and denials that were too many to tell apart.",
                "ops",
                {
                    "chained": rate("argosy_audit_sealed_total"),
                    "to {{to}}": rate("argosy_audit_forwarded_total", "to"),
                    "failed: {{to}}": rate("argosy_audit_forward_errors_total", "to"),
                    "counted together": rate("argosy_audit_summed_total"),
                },
            ),
        ),
    ),
    (
        "Processes",
        (
            Panel(
                "CPU",
                "Cores in use.",
                "none",
                {"{{instance}}": rate("process_cpu_seconds_total", "instance")},
            ),
            Panel(
                "Memory",
                "Resident, of all processes of a server.",
                "bytes",
                {"{{instance}}": gauge("sum", "process_resident_memory_bytes", "instance")},
            ),
            Panel(
                "Open files",
                "Of what they may have.",
                "percentunit",
                {
                    "{{instance}}": gauge("sum", "process_open_fds", "instance")
                    + " / "
                    + gauge("sum", "process_max_fds", "instance")
                },
            ),
            Panel(
                "Lateness of the event loop",
                "Above some 100 ms requests wait for CPU.",
                "s",
                {"{{instance}}": gauge("max", "argosy_loop_lag_seconds", "instance")},
            ),
            Panel(
                "Lines of the log dropped",
                "Who reads the log is too slow.",
                "ops",
                {"{{instance}}": rate("argosy_log_dropped_total", "instance")},
            ),
            Panel(
                "Failures of background work",
                "An error that nobody expected; the work began again. The log has it.",
                "ops",
                {
                    "{{instance}} {{task}}": rate(
                        "argosy_background_failures_total", "instance,task"
                    )
                },
            ),
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana takes it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row, content in ROWS:
        panels.append(_row(row, y, len(panels) + 1))
        y += 1
        for place, panel in enumerate(content):
            x, down = place % 3 * _WIDE, place // 3 * _HIGH
            panels.append(_panel(panel, x, y + down, len(panels) + 1))
        y += (len(content) + 2) // 3 * _HIGH
    return {
        "uid": "argosy",
        "title": "Argosy registry",
        "description": "Pulls, pushes, storage, database, access and audit of an Argosy registry.",
        "tags": ["argosy", "registry"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [*_variables()]},
        "annotations": {"list": []},
        "panels": panels,
    }


def _row(title: str, y: int, number: int) -> dict[str, Any]:
    place = {"h": 1, "w": 24, "x": 0, "y": y}
    about = {"id": number, "type": "row", "title": title}
    return {**about, "gridPos": place, "collapsed": False, "panels": []}


def _panel(panel: Panel, x: int, y: int, number: int) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    targets = [
        {"refId": chr(65 + n), "datasource": source, "expr": expr, "legendFormat": legend}
        for n, (legend, expr) in enumerate(panel.queries.items())
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": source,
        "gridPos": {"h": _HIGH, "w": _WIDE, "x": x, "y": y},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": targets,
    }


def _variables() -> list[dict[str, Any]]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    found: list[dict[str, Any]] = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}
    ]
    for name, query in (
        ("job", "label_values(argosy_build_info, job)"),
        ("instance", 'label_values(argosy_build_info{job=~"$job"}, instance)'),
        ("project", 'label_values(argosy_pulls_total{job=~"$job"}, project)'),
    ):
        found.append(
            {
                "name": name,
                "label": name.capitalize(),
                "type": "query",
                "datasource": source,
                "query": query,
                "refresh": 2,
                "multi": True,
                "includeAll": True,
                "allValue": ".*",
                "current": {"text": "All", "value": "$__all"},
            }
        )
    return found


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=1) + "\n"


def documented(page: str) -> str:
    """The page with the metrics as they are declared."""
    from argosy.meters.declared import ALL

    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for metric in ALL:
        labels = ", ".join(metric.labels)
        rows.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |")
    table = "\n".join(rows)
    begin, end = page.index(_BEGIN) + len(_BEGIN), page.index(_END)
    return f"{page[:begin]}\n\n{table}\n\n{page[end:]}"


if __name__ == "__main__":
    FILE.write_text(text())
    PAGE.write_text(documented(PAGE.read_text()))
    print(FILE, PAGE)
