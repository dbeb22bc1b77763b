"""The build history: every build leaves a record, however it ended, and its logs can be replayed."""

import asyncio
import gzip
import json
import os
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.build.disk.pruning import Request, State
from argosy.build.history.reading import History
from argosy.build.history.record import BuildRecord, full_ref, new_ref, told
from argosy.build.history.recorder import Recorder
from argosy.build.history.recording import recording
from argosy.build.options import BuildOptions, Output, Secret
from argosy.build.ssh import Agent
from argosy.errors import NotFound, StepFailed
from argosy.observe import Event, silent
from argosy.settings import Settings


async def built(bench, dockerfile, settings=None, **options):
    from argosy.build.pipeline import build

    context = bench.context({"Dockerfile": dockerfile, "file": "x"})
    options = {"tags": ("example.com/app:1",), **options}
    return await build(
        BuildOptions(context=context, **options),
        settings=settings or bench.settings,
        ends=bench.ends,
        engine=bench.engine,
        report=bench.events.append,
    )


async def test_a_build_leaves_a_record_with_what_came_out(bench, tmp_path):
    note = tmp_path / "notes.json"
    result = await built(
        bench, "FROM scratch\nCOPY file /a\nRUN echo hello\n", metadata_file=str(note)
    )
    [record] = History.of(bench.settings.home).records()
    assert record.ref == result.ref
    assert (record.status, record.name) == ("completed", "example.com/app:1")
    assert (record.digest, record.names) == (result.digest, result.names)
    assert (record.total, record.cached) == (2, 0)
    assert [reason["result"] for reason in record.reasons] == ["ran", "ran"]
    assert record.duration > 0
    assert json.loads(note.read_text())["buildx.build.ref"] == full_ref(result.ref)
    steps = {s["name"]: s["status"] for s in record.steps}
    assert "done" in [status for name, status in steps.items() if "RUN echo hello" in name]


async def test_what_passed_through_is_what_is_replayed(bench):
    await built(bench, "FROM scratch\nCOPY file /a\nRUN echo hello wörld\nRUN echo twice\n")
    history = History.of(bench.settings.home)
    replayed = [event for _, event in history.events(history.find().ref)]
    assert replayed == [e for e in bench.events if e.kind != "advanced"]
    times = [now for now, _ in history.events(history.find().ref)]
    assert times == sorted(times)


async def test_a_build_that_fails_says_why_and_what_it_printed(bench):
    with pytest.raises(StepFailed):
        await built(bench, "FROM scratch\nRUN echo so far && fail 3\n", target="")
    record = History.of(bench.settings.home).find()
    assert record.status == "error"
    assert record.error["code"] == "step-failed"
    assert record.error["status"] == 3
    assert record.error["output"] == "so far"
    assert record.error["line"] == 2
    assert [s["status"] for s in record.steps if "RUN" in s["name"]] == ["failed"]


async def test_a_build_that_is_cancelled_says_so(tmp_path):
    settings = Settings(home=str(tmp_path))
    with pytest.raises(asyncio.CancelledError):
        async with recording(BuildOptions(context="."), settings, silent):
            raise asyncio.CancelledError
    assert History.of(str(tmp_path)).find().status == "canceled"


KILLED = """
import os, signal, sys, time
from argosy.build.history.record import BuildRecord
from argosy.build.history.recorder import Recorder
from argosy.observe import Event
recorder = Recorder(sys.argv[1], BuildRecord(ref="killed", name="x", started=time.time())).begin()
recorder(Event("started", "k", "[1/1] RUN x"))
for n in range(1000):
    recorder(Event("log", "k", text=f"line {n}\\n"))
print("begun", flush=True)
while True:
    time.sleep(0.1)
    recorder(Event("log", "k", text="more\\n"))
"""


def test_a_build_that_is_killed_is_interrupted_and_its_log_can_be_read(tmp_path):
    history = History(str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"begun\n"
        assert history.find().status == "running"
        while not (said := [e.text for _, e in history.events("killed") if e.kind == "log"]):
            time.sleep(0.01)  # until it wrote for the first time
        process.kill()
    record = history.find("kill")
    assert record.status == "interrupted"
    assert record.steps[0]["status"] == "started"
    assert said[:2] == ["line 0\n", "line 1\n"]
    assert len(said) >= 1000
    history.tidy(0, 0.0)
    assert history.records() == []


def test_a_running_build_is_neither_interrupted_nor_forgotten(tmp_path):
    record = BuildRecord(ref="r", name="x", started=time.time() - 3600)
    recorder = Recorder(str(tmp_path), record).begin()
    history = History(str(tmp_path))
    history.tidy(0, 0.0)
    assert history.find().status == "running"
    recorder.end(status="completed", completed=time.time())
    history.tidy(0, 0.0)
    with pytest.raises(NotFound, match="no build yet"):
        history.find()


def test_of_many_builds_the_newest_are_kept(tmp_path):
    now = time.time()
    for number in range(9):
        record = BuildRecord(ref=f"r{number}", name="x", started=now - number * 100)
        Recorder(str(tmp_path), record).begin().end(status="completed", completed=now)
    history = History(str(tmp_path))
    history.tidy(5, 1e6)
    assert [r.ref for r in history.records()] == ["r0", "r1", "r2", "r3", "r4"]
    history.tidy(50, 250.0)
    assert [r.ref for r in history.records()] == ["r0", "r1", "r2"]
    assert len(os.listdir(tmp_path)) == 6


async def test_builds_are_bounded_by_the_settings(bench):
    settings = Settings(home=bench.settings.home, history_entries=2)
    for number in range(4):
        last = await built(bench, f"FROM scratch\nRUN echo {number}\n", settings)
    history = History.of(settings.home)
    assert len(history.records()) == 2
    assert history.find().ref == last.ref
    none = Settings(home=bench.settings.home, history_entries=0)
    assert (await built(bench, "FROM scratch\nRUN true\n", none)).ref
    assert len(history.records()) == 2


def test_a_build_is_found_by_its_ref_the_beginning_of_it_and_its_distance(tmp_path):
    for number, ref in enumerate(("abc1", "abd2", "xyz3")):
        record = BuildRecord(ref=ref, name=ref, started=1e9 + number)
        Recorder(str(tmp_path), record).begin().end(status="completed", completed=1e9 + 9)
    history = History(str(tmp_path))
    wanted = {"": "xyz3", "^0": "xyz3", "^1": "abd2", "abc": "abc1", "argosy/local/abd2": "abd2"}
    assert {text: history.find(text).ref for text in wanted} == wanted
    for unknown in ("ab", "nope", "^7"):
        with pytest.raises(NotFound):
            history.find(unknown)
    history.remove("abc1", "gone")
    assert [r.ref for r in history.records()] == ["xyz3", "abd2"]


def test_secrets_are_not_remembered():
    options = BuildOptions(
        context="https://me:hunter2@example.com/r.git?token=hunter2",
        build_args={"API_TOKEN": "hunter2", "VERSION": "1"},
        build_contexts={"more": "https://me:hunter2@example.com/x.git"},
        secrets=(Secret(id="pass", env="hunter2"), Secret(id="file", file="/hunter2")),
        agents=(Agent(id="default", paths=("/hunter2",)),),
        outputs=(Output(kind="tar", dest="x.tar"),),
    )
    record = BuildRecord.begun(new_ref(), options, 0.0)
    assert "hunter2" not in json.dumps(record.to_json())
    assert told(options)["build_args"] == {"API_TOKEN": "***", "VERSION": "1"}
    assert told(options)["secrets"] == ["pass", "file"]
    assert record.context == "https://example.com/r.git?…"


def test_a_record_is_the_same_after_it_was_kept():
    record = BuildRecord(
        ref="r", name="n", started=1.5, status="error", platforms=("linux/amd64",), total=3,
        error={"summary": "x"}, steps=({"name": "a", "status": "done"},), git={"commit": "c"},
    )  # fmt: skip
    assert BuildRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


@given(st.binary(max_size=300))
def test_a_damaged_record_or_log_is_left_out(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("history")
    (folder / "0000000000001-abc.json").write_bytes(data)
    (folder / "0000000000001-abc.log.gz").write_bytes(data)
    (folder / "0000000000002-abd.json").write_bytes(b"{}")
    (folder / "other").write_bytes(data)
    history = History(str(folder))
    assert history.records() == []
    assert list(history.events("abc")) == []
    with pytest.raises(NotFound):
        history.find("abc")


def test_an_endless_log_is_clipped(tmp_path, monkeypatch):
    monkeypatch.setattr("argosy.build.history.recorder._LARGEST_LOG", 1000)
    record = BuildRecord(ref="r", name="n", started=1e9)
    recorder = Recorder(str(tmp_path), record).begin()
    for _ in range(100):
        recorder(Event("log", "k", text="0123456789" * 10))
    recorder.end(status="completed", completed=1e9)
    said = "".join(e.text for _, e in History(str(tmp_path)).events("r"))
    assert len(said) < 1100
    assert said.endswith("[more output was not kept]\n")


def test_events_may_come_from_many_threads(tmp_path):
    recorder = Recorder(str(tmp_path), BuildRecord(ref="r", name="n", started=1e9)).begin()

    def tell(number):
        for line in range(200):
            recorder(Event("log", f"k{number}", text=f"{line}\n"))

    threads = [threading.Thread(target=tell, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.end(status="completed", completed=1e9)
    events = [e for _, e in History(str(tmp_path)).events("r")]
    for number in range(5):
        assert [e.text for e in events if e.key == f"k{number}"] == [f"{n}\n" for n in range(200)]


def test_a_build_without_output_starts_no_thread_and_writes_two_files(tmp_path):
    recorder = Recorder(str(tmp_path), BuildRecord(ref="r", name="n", started=1e9)).begin()
    recorder(Event("cached", "k", "[1/1] RUN x"))
    assert recorder._writing is None
    assert len(os.listdir(tmp_path)) == 1
    recorder.end(status="completed", completed=1e9)
    names = sorted(os.listdir(tmp_path))
    assert [name.partition(".")[2] for name in names] == ["json", "log.gz"]
    with gzip.open(tmp_path / names[1], "rt") as log:  # zcat reads it
        assert json.loads(log.read())[1:4] == ["cached", "k", "[1/1] RUN x"]


async def test_a_history_that_cannot_be_written_fails_no_build(bench):
    os.makedirs(os.path.join(bench.settings.home, "build"))
    with open(os.path.join(bench.settings.home, "build", "history"), "w") as file:
        file.write("in the way")
    assert (await built(bench, "FROM scratch\nRUN echo hello\n")).ref
    assert History.of(bench.settings.home).records() == []


async def test_the_history_is_not_pruned(bench):
    await built(bench, "FROM scratch\nRUN echo hello\n")
    await State.of(bench.settings.home, bench.images).prune(Request(everything=True))
    assert len(History.of(bench.settings.home).records()) == 1
