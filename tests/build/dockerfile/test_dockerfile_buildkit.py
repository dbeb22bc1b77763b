"""What BuildKit itself answers, and what we do, to the same questions.

The answers were had by running BuildKit's own packages: frontend/dockerfile of v0.32.2
(the stable frontend 1.26), moby/patternmatcher v0.6.1 and Go's filepath.Match. The base
image of every case is BASE; the text of a history entry of HEALTHCHECK is left out,
since it is Go's way of printing a structure.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from argosy.build.dockerfile import ignore
from argosy.build.dockerfile.evaluate import base_images, evaluate
from argosy.build.dockerfile.lint.linter import Surroundings, lint
from argosy.build.dockerfile.parser import parse
from argosy.build.dockerfile.plan import Plan
from argosy.build.dockerfile.source import Fault
from argosy.build.dockerfile.stages import FrontendOptions
from argosy.build.files import glob
from argosy.errors import DockerfileError
from argosy.model.platform import Platform

HERE = Path(__file__).parent
LINUX = Platform("linux", "amd64")
BASE: dict[str, Any] = {
    "architecture": "amd64",
    "os": "linux",
    "config": {
        "Env": ["PATH=/bin", "HERE=x y", "E="],
        "User": "1000",
        "WorkingDir": "/w",
        "Cmd": ["a"],
        "Entrypoint": ["e"],
        "Labels": {"l": "1"},
        "ExposedPorts": {"1/tcp": {}},
        "Volumes": {"/v": {}},
    },
    "history": [{"created_by": "base"}],
}


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (HERE / f"{name}_answers.jsonl").read_text().splitlines()]


def options(row: dict[str, Any]) -> FrontendOptions:
    given = row.get("args", {})
    return FrontendOptions(platform=LINUX, build_platform=LINUX, build_args=given)


def planned(row: dict[str, Any]) -> Plan:
    dockerfile, given = parse(row["text"]), options(row)
    bases: dict[Any, Any] = {}
    while new := base_images(dockerfile, given, bases):
        bases |= dict.fromkeys(new, BASE)
    return evaluate(dockerfile, given, bases)


def shown(row: dict[str, Any]) -> str:
    return re.sub(r"\W+", "-", row["text"] if "text" in row else row["pattern"])[:50]


ANSWERS = rows("buildkit")


@pytest.mark.parametrize("row", ANSWERS, ids=shown)
def test_the_image_config_is_buildkits(row: dict[str, Any]) -> None:
    if row.get("fails"):
        with pytest.raises(DockerfileError):
            planned(row)
        return
    target = planned(row).target
    assert {k: v for k, v in target.config.items() if v} == row["config"]
    assert target.author == row.get("author", "")
    texts = [str(h["created_by"]) for h in target.history if h["created_by"] != "base"]
    assert ["HEALTHCHECK" if t.startswith("HEALTHCHECK") else t for t in texts] == row["history"]


@pytest.mark.parametrize("row", [r for r in ANSWERS if "lint" in r], ids=shown)
def test_the_checks_find_what_buildkits_find(row: dict[str, Any]) -> None:
    dockerfile, given = parse(row["text"]), options(row)
    bases: dict[Any, Any] = {}
    while new := base_images(dockerfile, given, bases, every=True):
        bases |= dict.fromkeys(new, BASE)
    report = lint(dockerfile, given, Surroundings(bases=bases), every_stage=True)
    found = {(f.rule.name, f.where.first, f.detail) for f in report.faults}
    assert sorted(map(list, found)) == row["lint"]


@pytest.mark.parametrize("row", rows("patternmatcher"), ids=shown)
def test_patterns_leave_out_what_patternmatcher_does(row: dict[str, Any]) -> None:
    if row.get("fails"):
        with pytest.raises(Fault):
            ignore.patterns([row["pattern"]])
        return
    matcher = ignore.Matcher(ignore.patterns([row["pattern"]]))
    assert [p for p in row["ignores"] if not matcher.ignores(p)] == []
    assert [p for p in row["keeps"] if matcher.ignores(p)] == []


@pytest.mark.parametrize("row", rows("filepath_match"), ids=shown)
def test_one_element_matches_what_go_matches(row: dict[str, Any]) -> None:
    if row.get("fails"):
        with pytest.raises(glob.BadPattern):
            glob.element(row["pattern"])
        return
    expression = glob.element(row["pattern"])
    assert [n for n in row["matches"] if not expression.fullmatch(n)] == []
    assert [n for n in row["others"] if expression.fullmatch(n)] == []
