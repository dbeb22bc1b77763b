"""The dashboard, the alerts and the docs speak of metrics that exist, with labels that they have."""

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from argosy.meters import declared
from argosy.meters.kinds import Metric

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "argosy.json"
RULES = ROOT / "deploy" / "prometheus" / "argosy.rules.yml"

OF_PROMETHEUS = {"job", "instance", "le"}
WORDS = {"by", "without", "and", "or", "unless", "on", "ignoring", "bool", "offset", "inf", "nan"}
FUNCTIONS = {
    "sum", "min", "max", "count", "rate", "increase", "histogram_quantile",
}  # fmt: skip


def samples() -> dict[str, Metric]:
    """Every name on the page, and the metric it is of."""
    found: dict[str, Metric] = {}
    for metric in declared.ALL:
        endings = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        found |= {metric.name + ending: metric for ending in endings}
    return found


def used(expression: str, recorded: dict[str, set[str]]) -> Iterator[str]:
    """The metrics of a PromQL expression; a test fails at what is wrong with it."""
    known = samples()
    assert expression.count("(") == expression.count(")"), expression
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)
    chosen: dict[str, set[str]] = {}
    for name, inner in re.findall(r"([A-Za-z_:][\w:]*)\s*\{([^}]*)\}", bare):
        chosen.setdefault(name, set()).update(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inner))
    split = {
        word.strip()
        for inner in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", bare)
        for word in inner.split(",")
        if word.strip()
    }
    rest = re.sub(r"\{[^}]*\}|\[[^]]*\]|\b(?:by|on)\s*\([^)]*\)", " ", bare)
    names = set()
    for word, call in re.findall(r"([A-Za-z_:][\w:]*)(\s*\()?", rest):
        if call and word not in WORDS:
            assert word in FUNCTIONS, f"{word} in {expression}"
        elif word not in WORDS:
            names.add(word)
    labels: set[str] = set(OF_PROMETHEUS)
    for name in names:
        if name in recorded or name == "up":
            labels |= recorded.get(name, set())
            continue
        assert name in known, f"there is no metric {name}: {expression}"
        own = {*known[name].labels, *OF_PROMETHEUS}
        labels |= own
        assert chosen.get(name, set()) <= own, f"labels of {name}: {expression}"
        yield name
    assert split <= labels, f"{split - labels} in {expression}"
    assert names, expression


def counters_are_rated(expression: str) -> bool:
    """A counter by itself says nothing: it has to stand in rate() or increase()."""
    inside = re.sub(r"(?:rate|increase)\((?:[^()\"]|\"[^\"]*\")*\)", " ", expression)
    return not re.search(r"\w+_(?:total|bucket|sum|count)\b", inside)


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [p for p in json.loads(DASHBOARD.read_text())["panels"] if p["type"] != "row"]


def test_every_expression_of_the_dashboard_is_over_metrics_that_exist() -> None:
    seen = set()
    for panel in panels():
        for target in panel["targets"]:
            names = set(used(target["expr"], {}))
            seen |= names
            assert counters_are_rated(target["expr"]), target["expr"]
            legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            kept = {
                word.strip()
                for inner in re.findall(r"by \(([^)]*)\)", target["expr"])
                for word in inner.split(",")
            }
            assert legend <= kept, f"{panel['title']}: {legend} of {kept}"
    # Whatever is counted is shown, but for the details of routes that Prometheus is asked for.
    unseen = {m.name for m in declared.ALL} - {samples()[name].name for name in seen}
    assert unseen == {"argosy_http_sent_bytes_total", "process_start_time_seconds"}


def test_every_alert_is_over_metrics_that_exist_and_says_what_to_do() -> None:
    found = rules()
    recorded = {
        rule["record"]: set(re.findall(r"by \((\w+)\)", rule["expr"]))
        for rule in found
        if "record" in rule
    }
    for rule in found:
        list(used(rule["expr"], recorded))
        assert counters_are_rated(rule["expr"]), rule["expr"]
        if "alert" in rule:
            about = rule["annotations"]
            assert about["summary"]
            assert about["description"].endswith(".")
            assert rule["labels"]["severity"] in ("warning", "critical")
            said = set(re.findall(r"\$labels\.(\w+)", about["summary"]))
            kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", rule["expr"]))))
            assert said <= (kept or OF_PROMETHEUS), rule
    assert sum("alert" in rule for rule in found) >= 15


@pytest.mark.parametrize(
    "expression",
    [
        "sum(rate(argosy_no_such_total[5m]))",
        'sum(rate(argosy_pulls_total{colour="red"}[5m]))',
        "sum by (colour) (rate(argosy_pulls_total[5m]))",
        "sum(frobnicate(argosy_pulls_total[5m]))",
        "argosy_transfer_seconds > 1",
        "sum(rate(argosy_pulls_total[5m])",
    ],
)
def test_an_expression_that_is_wrong_would_be_found(expression: str) -> None:
    with pytest.raises(AssertionError):
        list(used(expression, {}))


def script() -> ModuleType:
    found = importlib.util.spec_from_file_location(
        "write_dashboard", ROOT / "scripts" / "write_dashboard.py"
    )
    assert found
    assert found.loader
    made = importlib.util.module_from_spec(found)
    __import__("sys").modules["write_dashboard"] = made
    found.loader.exec_module(made)
    return made


def test_the_dashboard_is_as_its_script_writes_it() -> None:
    assert DASHBOARD.read_text() == script().text(), "run scripts/write_dashboard.py"


def test_panels_do_not_overlap_and_each_is_its_own() -> None:
    whole = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in whole}) == len(whole)
    taken: set[tuple[int, int]] = set()
    for panel in whole:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_every_metric_is_in_the_docs_as_it_is_declared() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    assert page == script().documented(page), "run scripts/write_dashboard.py"
    assert page.count("| `argosy_") == sum(m.name.startswith("argosy_") for m in declared.ALL)


def test_every_alert_is_in_the_docs() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    assert [r["alert"] for r in rules() if "alert" in r] == re.findall(
        r"^\| `(Argosy\w+)`", text, re.MULTILINE
    )
