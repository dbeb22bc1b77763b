"""Progress: what is shown for which event, in every kind."""

import base64
import io
import json
import threading

import pytest

from argosy.cli.terminal.board import Board, title
from argosy.cli.terminal.plain import Plain
from argosy.cli.terminal.progress import choose, showing
from argosy.cli.terminal.rawjson import RawJSON, vertex_digest
from argosy.cli.terminal.units import human_size, human_time
from argosy.errors import UsageError
from argosy.observe import Event

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DIGEST = "sha256:" + "4f" * 32


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def plain(*events: Event | float) -> str:
    """The lines for events; a number in between lets that many seconds pass."""
    stream, clock = io.StringIO(), Clock()
    with Plain(stream, clock) as report:
        for event in events:
            if isinstance(event, Event):
                report(event)
            else:
                clock.now += event
    return stream.getvalue()


def test_plain_shows_build_steps_as_buildkit_does() -> None:
    step = "[build 2/5] RUN make"
    assert plain(
        Event("started", "a", step),
        0.42,
        Event("log", "a", step, text="gcc -c main.c\n"),
        Event("cached", "b", "[1/5] FROM debian"),
        0.8,
        Event("done", "a", step),
    ) == (
        "#1 [build 2/5] RUN make\n"
        "#1 0.42 gcc -c main.c\n"
        "\n"
        "#2 [1/5] FROM debian\n"
        "#2 CACHED\n"
        "\n"
        "#1 DONE 1.2s\n"
    )


def test_plain_shows_a_transfer_as_one_line() -> None:
    assert plain(
        Event("started", DIGEST, LAYER, 0, 12_300_000),
        Event("advanced", DIGEST, LAYER, 1_000_000, 12_300_000),
        2.0,
        Event("done", DIGEST, LAYER, 12_300_000, 12_300_000),
        Event("skipped", "sha256:" + "ab" * 32, LAYER, 5, 5),
    ) == ("#1 layer 4f4f4f4f4f4f 12.3MB DONE 2.0s\n#2 layer abababababab 5B EXISTS\n")


def test_plain_tells_how_far_a_long_transfer_is() -> None:
    events: list[Event | float] = [Event("started", DIGEST, LAYER, 0, 100_000_000)]
    for done in range(1, 12):
        events += [1.0, Event("advanced", DIGEST, LAYER, done * 1_000_000, 100_000_000)]
    assert plain(*events).splitlines() == [
        "#1 layer 4f4f4f4f4f4f 5MB / 100MB 5.0s",
        "#1 layer 4f4f4f4f4f4f 10MB / 100MB 10.0s",
    ]


def test_plain_waits_for_the_end_of_a_line() -> None:
    shown = plain(
        Event("started", "a", "step"),
        Event("log", "a", text="half "),
        Event("log", "a", text="a line\nand a last one"),
        Event("failed", "a", text="exit code 2"),
    )
    assert shown.splitlines() == [
        "#1 step",
        "#1 0.00 half a line",
        "#1 0.00 and a last one",
        "#1 ERROR: exit code 2",
    ]


def test_plain_keeps_the_last_state_of_an_overwritten_line() -> None:
    shown = plain(Event("log", "a", "step", text="10%\r50%\r100%\r\nnext\n"))
    assert shown.splitlines() == ["#1 step", "#1 0.00 100%", "#1 0.00 next"]


def test_plain_tells_of_retries_and_warnings() -> None:
    shown = plain(
        Event("retry", DIGEST, LAYER, text="503, again in 1.0 s"),
        Event("warning", "b", "lint", text="last USER is root"),
    )
    assert "#1 RETRY 503, again in 1.0 s" in shown
    assert "#2 WARNING: last USER is root" in shown


def test_plain_survives_a_reader_that_left() -> None:
    stream = io.StringIO()
    with Plain(stream) as report:
        stream.close()
        report(Event("started", "a", "step"))
        report(Event("log", "a", text="x\n"))


def test_plain_takes_events_from_threads_without_mixing_lines() -> None:
    stream = io.StringIO()
    with Plain(stream) as report:

        def work(key: str) -> None:
            for n in range(200):
                report(Event("log", key, key, text=f"{key} {n}\n"))

        threads = [threading.Thread(target=work, args=(f"step{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = [line.split(" ", 2) for line in stream.getvalue().splitlines() if line]
    for number in "1234":
        own = [line[2] for line in lines if line[0] == f"#{number}" and len(line) == 3]
        assert own == [f"{own[0].split()[0]} {n}" for n in range(200)]


def raw(*events: Event) -> list[dict[str, object]]:
    stream = io.StringIO()
    with RawJSON(stream) as report:
        for event in events:
            report(event)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_rawjson_has_buildkits_fields() -> None:
    begun, logged, moved, done = raw(
        Event("started", "a", "[1/2] RUN x"),
        Event("log", "a", text="hi\n"),
        Event("advanced", DIGEST, LAYER, 5, 10),
        Event("done", "a"),
    )
    vertex = begun["vertexes"][0]
    assert vertex["digest"] == vertex_digest("a") != "a"
    assert vertex["name"] == "[1/2] RUN x"
    assert "completed" not in vertex
    log = logged["logs"][0]
    assert (log["vertex"], base64.b64decode(log["data"])) == (vertex["digest"], b"hi\n")
    status = moved["statuses"][0]
    assert (status["vertex"], status["current"], status["total"]) == (DIGEST, 5, 10)
    assert done["vertexes"][0]["completed"] >= vertex["started"] == done["vertexes"][0]["started"]


def test_rawjson_marks_cached_and_failed_vertexes() -> None:
    cached, failed = raw(Event("cached", "a", "x"), Event("failed", "b", "y", text="boom"))
    assert cached["vertexes"][0]["cached"] is True
    assert failed["vertexes"][0]["error"] == "boom"


def test_tty_leaves_what_was_finished_and_the_tail_of_what_failed() -> None:
    from argosy.cli.terminal.tty import Display

    stream = io.StringIO()
    with Display(stream) as report:
        report(Event("started", "a", "[1/2] RUN make"))
        for n in range(20):
            report(Event("log", "a", text=f"line {n}\n"))
        report(Event("failed", "a", text="exit code 2"))
        report(Event("started", DIGEST, LAYER, 0, 10))
        report(Event("advanced", DIGEST, LAYER, 5, 10))
        report(Event("done", DIGEST, LAYER, 10, 10))
        report(Event("retry", DIGEST, LAYER, text="503"))
    shown = stream.getvalue()
    assert "✘ [1/2] RUN make" in shown
    assert "line 19" in shown
    assert "line 3\n" not in shown
    assert "✔ layer 4f4f4f4f4f4f 10B" in shown
    assert "! layer 4f4f4f4f4f4f: 503" in shown


@pytest.mark.parametrize(
    ("asked", "quiet", "environ", "kind"),
    [
        (None, False, {}, "plain"),  # stderr of a test is no terminal
        ("auto", False, {"BUILDKIT_PROGRESS": "rawjson"}, "plain"),
        (None, False, {"BUILDKIT_PROGRESS": "rawjson"}, "rawjson"),
        ("tty", False, {}, "tty"),
        ("plain", True, {}, "quiet"),
        ("none", False, {}, "quiet"),
    ],
)
def test_the_kind_of_progress_follows_flag_then_variable_then_terminal(
    asked: str | None, quiet: bool, environ: dict[str, str], kind: str
) -> None:
    assert choose(asked, quiet=quiet, environ=environ) == kind


def test_an_unknown_kind_in_the_variable_is_an_error() -> None:
    with pytest.raises(UsageError, match="fancy"):
        choose(None, environ={"BUILDKIT_PROGRESS": "fancy"})


def test_quiet_shows_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with showing("quiet") as report:
        report(Event("started", "a", "x"))
    assert capfd.readouterr() == ("", "")


def test_a_restarted_key_is_running_again() -> None:
    board = Board()
    board.take(Event("started", "a", "x"))
    board.take(Event("failed", "a", text="503"))
    line = board.take(Event("started", "a", "x"))
    assert not line.finished


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (Event("started", DIGEST, LAYER), "layer 4f4f4f4f4f4f"),
        (Event("started", DIGEST, "application/vnd.oci.image.index.v1+json"), "index 4f4f4f4f4f4f"),
        (
            Event("started", DIGEST, "application/vnd.oci.image.config.v1+json"),
            "config 4f4f4f4f4f4f",
        ),
        (Event("started", DIGEST, "application/octet-stream"), "blob 4f4f4f4f4f4f"),
        (Event("started", DIGEST, "[1/2] RUN a/b"), "[1/2] RUN a/b"),
        (Event("started", "step"), "step"),
    ],
)
def test_keys_are_called_as_people_know_them(event: Event, name: str) -> None:
    assert title(event) == name


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (12_345_678, "12.3MB"),
        (999_900, "1MB"),
        (5 * 10**9, "5GB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert human_size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.44, "0.4s"), (59.9, "59.9s"), (125, "2m05s"), (3725, "1h02m")]
)
def test_times(seconds: float, text: str) -> None:
    assert human_time(seconds) == text
