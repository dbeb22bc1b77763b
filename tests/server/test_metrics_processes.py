"""One metrics page over several processes: never goes back, and the dead keep their counts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from argosy.errors import StorageError
from argosy.meters import declared as meters
from argosy.server.observing.counting.gathering import Gathering, Snapshot, merged

WORKER = """
import sys
from argosy.meters import declared as meters
from argosy.server.observing.counting.gathering import Gathering, Snapshot
with Gathering(sys.argv[1]) as gathering:
    cells = {meters.RECEIVED: {(): [7.0]}, meters.UPLOADS: {(): [2.0]}}
    gathering.publish(Snapshot.of(cells, ["theirs"]))
    print("published", flush=True)
    sys.stdin.readline()
"""


def mine(received: float, uploads: float, ready: float = 1.0) -> Snapshot:
    cells = {
        meters.RECEIVED: {(): [received]},
        meters.UPLOADS: {(): [uploads]},
        meters.READY: {("database",): [ready]},
        meters.UPLOAD_OLDEST: {(): [uploads]},
        meters.DATABASE_BATCH: {(): [1.0, *[1.0] * 9]},
    }
    return Snapshot.of(cells, ["ours"])


def cell(found: Snapshot, name: str) -> list[float]:
    cells = dict(found.series[name])
    assert len(cells) == 1
    return next(iter(cells.values()))


def test_counters_add_up_and_each_gauge_joins_in_its_own_way() -> None:
    found = merged([mine(1, 3), mine(2, 4, ready=0.0)])
    assert cell(found, "argosy_received_bytes_total") == [3]
    assert cell(found, "argosy_uploads") == [7]
    assert cell(found, "argosy_upload_oldest_seconds") == [4]
    assert cell(found, "argosy_ready") == [0]
    assert cell(found, "argosy_database_batch_size") == [2.0] * 10


def test_what_a_killed_process_counted_stays_and_its_gauges_go(tmp_path: Path) -> None:
    place = str(tmp_path / "metrics")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, place], stdin=pipe, stdout=pipe, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "published\n"
        with Gathering(place) as gathering:
            gathering.publish(mine(1, 1))
            found = gathering.all()
            assert cell(found, "argosy_received_bytes_total") == [8]
            assert cell(found, "argosy_uploads") == [3]
            assert found.projects == {"ours", "theirs"}
            other.kill()
            other.wait()
            for _ in range(3):  # buried once, told for ever
                found = gathering.all()
                assert cell(found, "argosy_received_bytes_total") == [8]
                assert cell(found, "argosy_uploads") == [1]
            assert found.projects == {"ours"}
            assert len([name for name in os.listdir(place) if name.endswith(".alive")]) == 1


def test_who_dies_while_burying_counts_nobody_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = str(tmp_path)
    with Gathering(place) as first:
        first.publish(mine(5, 0))
    with Gathering(place) as second:

        def cut(_path: str) -> None:
            raise InterruptedError

        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", cut)
            with pytest.raises(InterruptedError):
                second.all()
        second.publish(mine(1, 0))
        assert cell(second.all(), "argosy_received_bytes_total") == [6]
        assert cell(second.all(), "argosy_received_bytes_total") == [6]


def test_who_dies_while_a_page_is_made_is_on_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Gathering(str(tmp_path))
    first.open()
    first.publish(mine(5, 0))
    with Gathering(str(tmp_path)) as second:
        read = second._read

        def dying(name: str) -> Snapshot:
            found = read(name)
            if name == first._name:
                first.close()
            return found

        with monkeypatch.context() as patch:
            patch.setattr(second, "_read", dying)
            assert cell(second.all(), "argosy_received_bytes_total") == [5]
        assert cell(second.all(), "argosy_received_bytes_total") == [5]


def test_a_file_of_a_newer_version_is_read_as_far_as_it_is_understood(tmp_path: Path) -> None:
    with Gathering(str(tmp_path)) as one, Gathering(str(tmp_path)) as two:
        unknown = Snapshot(series={"argosy_later_total": [((), [1.0])]})
        one.publish(unknown)
        two.publish(mine(1, 0))
        assert "argosy_later_total" not in two.all().series


def test_a_directory_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot use"), Gathering(str(tmp_path / "file" / "x")):
        pass
