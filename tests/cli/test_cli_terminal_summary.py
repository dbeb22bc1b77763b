"""The job summary of a build, and output without an end."""

from pathlib import Path

import pytest

from argosy.cli.terminal.board import Board
from argosy.cli.terminal.progress import log_lines
from argosy.cli.terminal.summary import Summary, summarised
from argosy.observe import Event, silent


def test_each_step_is_listed_with_its_result_and_time() -> None:
    now = [10.0]
    summary = Summary(silent, lambda: now[0])
    summary(Event("cached", "a", "[1/2] FROM base"))
    summary(Event("started", "b", "[2/2] RUN make"))
    now[0] = 12.5
    summary(Event("done", "b", "[2/2] RUN make"))
    summary(Event("done", "c", "exporting layers and manifests"))
    summary.facts.append(("app:1", "sha256:" + "0" * 64))
    text = summary.markdown()
    assert "### Build succeeded in 2.5s" in text
    assert "1 of 2 steps cached." in text
    assert "| <code>[1/2] FROM base</code> | cached |  |" in text
    assert "| <code>[2/2] RUN make</code> | ran | 2.5s |" in text
    assert f"| <code>app:1</code> | <code>sha256:{'0' * 64}</code> |" in text


def test_nothing_in_a_step_is_markup_or_ends_its_row() -> None:
    summary = Summary(silent)
    summary(Event("cached", "a", "RUN a | b `c` <img src=x>\n| d |"))
    row = next(r for r in summary.markdown().splitlines() if "RUN a" in r)
    assert row.count("|") == 4
    assert "`" not in row
    assert "<img" not in row


def test_a_failed_build_appends_its_summary_and_still_fails(tmp_path: Path) -> None:
    file = tmp_path / "summary"
    file.write_text("before\n")
    seen: list[Event] = []

    def fail() -> None:
        with summarised(str(file), seen.append) as report:
            report(Event("started", "a", "RUN false"))
            report(Event("failed", "a", "RUN false", text="exit code 1"))
            raise ValueError("exit code 1")

    with pytest.raises(ValueError, match="exit code 1"):
        fail()
    text = file.read_text()
    assert text.startswith("before\n### Build failed")
    assert "| <code>RUN false</code> | **failed** |" in text
    assert [e.kind for e in seen] == ["started", "failed"]


def test_a_summary_that_cannot_be_written_fails_no_build(tmp_path: Path) -> None:
    with summarised(str(tmp_path / "none" / "summary"), silent):
        pass
    assert not (tmp_path / "none").exists()


def test_output_without_a_newline_is_bounded() -> None:
    board = Board()
    line = board.take(Event("started", "a", "RUN flood"))
    shown = [s for _ in range(200) for s in board.log(line, "x" * 4096)]
    assert len(line.partial) <= 65536
    assert sum(map(len, shown)) + len(line.partial) == 200 * 4096


@pytest.mark.parametrize(
    ("asked", "lines"), [("", 6), ("2", 2), ("0", 6), ("-3", 6), ("many", 6), ("²", 6)]
)
def test_as_many_lines_of_output_are_kept_as_buildkits_variable_says(
    asked: str, lines: int
) -> None:
    board = Board(tail=log_lines({"BUILDKIT_TTY_LOG_LINES": asked}))
    line = board.take(Event("started", "a", "RUN seq 20"))
    board.log(line, "".join(f"{n}\n" for n in range(20)))
    assert line.tail == [str(n) for n in range(20)][-lines:]
