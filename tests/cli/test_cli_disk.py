"""argosy du, prune and history, as people type them."""

import asyncio
import json
import os
import pty
import re
import subprocess
import sys
import time

import pytest

from argosy.build.history.record import BuildRecord
from argosy.build.history.recorder import Recorder
from argosy.cli.history.choosing import chosen
from argosy.cli.terminal.units import ago
from argosy.errors import UsageError
from argosy.observe import Event

STEP = "RUN dd if=/dev/urandom of=/a bs=1M count=2 2>/dev/null && echo built it"
needs_root = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not os.path.exists("/bin/busybox"), reason="needs busybox"),
]


@pytest.fixture
def context(tmp_path):
    """A context with busybox, and a Dockerfile that takes some room."""
    from tests.building import BASE, Real

    world = Real(str(tmp_path))
    world.busybox()
    world.file("Dockerfile", f"{BASE}FROM base\n{STEP}\n")
    world.file("Bad", f"{BASE}FROM base\nRUN echo no good; exit 3\n")
    return tmp_path / "context"


class TestBuilds:
    pytestmark = needs_root

    def test_du_shows_what_a_build_left_and_prune_removes_it(self, argosy, context):
        assert argosy("build", "-q", "-t", "x:1", context).code == 0
        table = argosy("du").out
        assert table.splitlines()[0].split() == ["ID", "RECLAIMABLE", "SIZE", "LAST", "ACCESSED"]
        assert "Total:" in table
        assert STEP in argosy("du", "--verbose").out
        items = argosy("du", "--json").json
        assert sum(i["Size"] for i in items if i["Type"] == "regular") > 2 << 20
        [step] = argosy("du", "--filter", "description~=dd", "--json").json
        assert argosy("du", "--filter", f"id={step['ID']}", "--format", "{{.ID}}").out.split() == [
            step["ID"]
        ]
        lines = argosy("du", "--format", "json").out.splitlines()
        assert sorted(json.loads(line)["ID"] for line in lines) == sorted(i["ID"] for i in items)

        pruned = argosy("prune", "--force", "--json").json
        assert pruned["reclaimed"] > 2 << 20
        assert pruned["total"] < 1 << 20
        assert not [i for i in argosy("du", "--json").json if i["Type"] == "regular"]
        assert argosy("images", "-q").out  # the image is still there

    def test_rm_and_prune_free_an_image(self, argosy, context, tmp_path):
        argosy("build", "-q", "-t", "x:1", context)
        argosy("prune", "-f")
        blobs = tmp_path / "home/argosy/images/blobs/sha256"
        assert len(os.listdir(blobs)) >= 4
        assert argosy("rm", "local:x:1").code == 0
        said = argosy("prune", "-f")
        assert "a blob that no image and no step needs" in argosy("du").out or not os.listdir(blobs)
        assert re.search(r"Total: +2\.\d+MB|Total: +3\.\d+MB", said.out)
        assert os.listdir(blobs) == []

    def test_a_cap_that_cannot_hold_is_told(self, argosy, context):
        argosy("build", "-q", "-t", "x:1", context)
        kept = argosy("prune", "-f", "--max-used-space", "1", "--keep-duration", "1h")
        assert kept.code == 0
        assert "more than the cap allows" in kept.err
        assert argosy("prune", "-f", "--max-used-space", "80%").out.split() == ["Total:", "0B"]

    def test_the_history_tells_of_builds_that_ended_well_and_of_others(self, argosy, context):
        assert argosy("build", "-q", "-t", "x:1", context).code == 0
        assert argosy("build", "-q", "-f", context / "Bad", context).code == 1
        rows = [line.split() for line in argosy("history", "ls").out.splitlines()]
        assert rows[0] == ["BUILD", "ID", "NAME", "STATUS", "CREATED", "AT", "DURATION"]
        assert [(row[1], row[2]) for row in rows[1:]] == [
            ("context", "Error"),
            ("x:1", "Completed"),
        ]
        good = rows[2][0]

        failed = argosy("history", "inspect").out
        assert "exit code 3" in failed
        assert "  no good" in failed
        assert argosy("history", "inspect", "--format", "{{.Status}}").out == "Error\n"
        told = argosy("history", "inspect", good[:8], "--json").json
        assert told["digest"] == argosy("digest", "local:x:1").out.strip()
        assert re.search(r"#\d \d\.\d\d built it\n", argosy("history", "logs", "^1").out)
        raw = argosy("history", "logs", good, "--progress", "rawjson").out.splitlines()
        times = [v["started"] for line in raw for v in json.loads(line).get("vertexes", ())]
        assert times
        assert all(t[:10] == told_day(told["started"]) for t in times)

        assert argosy("history", "ls", "--filter", "status=error", "--format", "{{.Ref}}").out == (
            f"{rows[1][0]}\n"
        )
        assert argosy("history", "ls", "--local").out.count("\n") == 1  # in no repository
        assert argosy("history", "rm", good[:8]).out == f"{good}\n"
        assert argosy("history", "rm", "--all").out == f"{rows[1][0]}\n"
        assert argosy("history", "ls", "--json").json == []
        assert argosy("history", "inspect").code == 4


def told_day(seconds):
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def test_where_nothing_was_built_there_is_nothing_to_tell(argosy, tmp_path):
    assert argosy("du", "--json").json == []
    assert argosy("prune", "-f").out.split() == ["Total:", "0B"]
    assert argosy("history", "ls").out.split() == [
        "BUILD",
        "ID",
        "NAME",
        "STATUS",
        "CREATED",
        "AT",
        "DURATION",
    ]
    assert argosy("history", "logs").code == 4
    assert not (tmp_path / "home" / "argosy" / "build" / "cache.db").exists()


def test_prune_removes_nothing_unasked(argosy):
    said = argosy("prune")
    assert said.code == 2
    assert "--force" in said.err


@pytest.mark.parametrize(("answer", "removes"), [("n", False), ("", False), ("y", True)])
@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_at_a_terminal_prune_asks_first(argosy, tmp_path, answer, removes):
    mount = tmp_path / "home/argosy/build/mounts/abc"
    (mount / "data").mkdir(parents=True)
    terminal, end = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "argosy", "prune"], stdin=end, stderr=end, stdout=subprocess.PIPE
    ) as process:
        os.close(end)
        os.write(terminal, f"{answer}\n".encode())
        said = process.stdout.read().decode()
        asked = os.read(terminal, 1000).decode()
    os.close(terminal)
    assert process.returncode == 0
    assert "all build cache that is not in use" in asked
    assert mount.exists() is not removes
    assert ("abc" in said) is removes


@pytest.mark.parametrize(
    "words",
    [
        ("prune", "-f", "--max-used-space", "lots"),
        ("prune", "-f", "--min-free-space", "120%"),
        ("prune", "-f", "--keep-duration", "soon"),
        ("prune", "-f", "--filter", "size>5"),
        ("du", "--filter", "nothing=1"),
        ("history", "ls", "--filter", "status=fine"),
        ("history", "rm"),
        ("history", "rm", "--all", "x"),
    ],
)
def test_words_that_cannot_be_read_are_told_with_what_can(argosy, words):
    said = argosy(*words)
    assert said.code == 2
    assert "do:" in said.err


@pytest.mark.parametrize(
    "words", [("buildx", "du"), ("buildx", "prune", "-f"), ("buildx", "history", "ls")]
)
def test_the_words_of_buildx_are_understood(argosy, words):
    assert argosy(*words).code == 0


RECORD = BuildRecord(
    ref="abc", name="x", started=1000.0, completed=1040.0, status="error",
    git={"remote": "https://example.com/r.git"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("ref=abc", True),
        ("ref!=abc", False),
        ("status=error", True),
        ("status!=success", True),
        ("repository=https://example.com/r.git", True),
        ("duration>30s", True),
        ("duration<30s", False),
        ("startedAt<1h", True),
        ("startedAt>1h", False),
        ("completedAt>1970-01-01T00:17:00Z", True),
    ],
)
def test_filters_of_the_history(word, meant):
    assert chosen([word], now=10_000.0)(RECORD) is meant


@pytest.mark.parametrize("word", ["", "ref", "ref>a", "duration=5s", "startedAt>soon", "size=1"])
def test_filters_of_the_history_that_cannot_be_read(word):
    with pytest.raises(UsageError, match="--filter"):
        chosen([word])


async def test_a_build_that_runs_is_listed_as_running(argosy_process, tmp_path):
    folder = tmp_path / "home/argosy/build/history"
    recorder = Recorder(str(folder), BuildRecord(ref="r" * 25, name="x", started=time.time()))
    await asyncio.to_thread(recorder.begin)
    recorder(Event("log", "k", "[1/1] RUN x", text="so far\n"))
    said = await argosy_process("history", "ls")
    await asyncio.to_thread(recorder.end, status="completed", completed=time.time())
    assert "Running" in said.out
    assert "so far" in (await argosy_process("history", "logs")).out
    assert "Completed" in (await argosy_process("history", "ls")).out


def test_how_long_ago_is_told_in_one_unit():
    assert [ago(s) for s in (0, 1, 59, 60, 7200, 86400 * 3, 86400 * 15, 86400 * 65, 86400 * 800)] == [
        "now", "1 second ago", "59 seconds ago", "1 minute ago", "2 hours ago", "3 days ago",
        "2 weeks ago", "2 months ago", "2 years ago",
    ]  # fmt: skip
