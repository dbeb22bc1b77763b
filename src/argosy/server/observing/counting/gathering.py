"""One page over all processes of a server, whichever of them is asked.

Each process puts what it has counted into a file of its own; the page is made of the
files alone, so that two pages in a row never go back, whoever makes them. What a process
counted stays when it dies; its gauges go.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, Self

import msgspec
from msgspec import structs

from argosy.errors import StorageError
from argosy.meters.declared import ALL
from argosy.meters.kinds import Labels, Merge, Metric

Series = dict[Labels, list[float]]

_METRICS: Final[Mapping[str, Metric]] = {metric.name: metric for metric in ALL}


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted: by metric, the cells with their labels; which projects have series.

    `buried`: the processes whose counts are in it, though their files may still be there.
    """

    series: dict[str, list[tuple[Labels, list[float]]]]
    projects: frozenset[str] = frozenset()
    buried: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, readings: Mapping[Metric, Mapping[Labels, list[float]]], projects: Iterable[str] = ()
    ) -> Self:
        """Of readings."""
        series = {metric.name: list(cells.items()) for metric, cells in readings.items()}
        return cls(series=series, projects=frozenset(projects))

    def without_gauges(self) -> "Snapshot":
        """What stays of it when the process is gone."""
        kept = {n: cells for n, cells in self.series.items() if _METRICS[n].kind != "gauge"}
        return Snapshot(series=kept)


def merged(snapshots: Iterable[Snapshot]) -> Snapshot:
    """All of them as one."""
    series: dict[str, Series] = {}
    projects: set[str] = set()
    for snapshot in snapshots:
        projects |= snapshot.projects
        for name, cells in snapshot.series.items():
            if (metric := _METRICS.get(name)) is not None:  # else of another version
                held = series.setdefault(name, {})
                for labels, cell in cells:
                    _join(held, labels, cell, metric.merge)
    return Snapshot(
        series={name: list(cells.items()) for name, cells in series.items()},
        projects=frozenset(projects),
    )


def _join(held: Series, labels: Labels, cell: list[float], merge: Merge) -> None:
    before = held.get(labels)
    if before is None or len(before) != len(cell):
        held[labels] = cell
    elif merge == "sum":
        held[labels] = [a + b for a, b in zip(before, cell, strict=True)]
    else:
        held[labels] = max(before, cell) if merge == "max" else min(before, cell)


class Gathering:
    """A directory that the processes of one server share; made anew with each start of the server.

    Everything here touches files: call it in a thread.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._name = f"{os.getpid()}-{os.urandom(4).hex()}"
        self._alive: int

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def open(self) -> None:
        """Join in; StorageError where nothing can be written."""
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._alive = os.open(self._path(self._name, "alive"), flags, 0o600)
        except OSError as e:
            raise StorageError(
                f"cannot use {self._directory} for the metrics of several processes",
                why=e.strerror or str(e),
                remedy="give a directory that can be written",
            ) from e
        fcntl.flock(self._alive, fcntl.LOCK_EX)  # the kernel lets go of it when the process dies

    def close(self) -> None:
        """Leave."""
        os.close(self._alive)

    def publish(self, snapshot: Snapshot) -> None:
        """Put what this process has counted where the others see it."""
        self._write(self._name, snapshot)

    def all(self) -> Snapshot:
        """What all of them have counted, the dead ones too."""
        with self._alone():
            entries = [entry.rpartition(".") for entry in os.listdir(self._directory)]
            joined = {name for name, _, kind in entries if kind == "alive"}
            # Looked at once: who dies while the page is made would be on it twice, or not at all.
            dead = {name for name in joined if self._is_dead(name)}
            found = [self._read(name) for name in joined - dead]
            return merged([*found, self._bury(dead)])

    def _bury(self, dead: set[str]) -> Snapshot:
        """Add the dead ones to what earlier ones have left."""
        ended = self._read("ended")
        if not dead:
            return ended
        fresh = [self._read(name).without_gauges() for name in dead if name not in ended.buried]
        ended = structs.replace(merged([ended, *fresh]), buried=frozenset(dead))
        self._write("ended", ended)  # from here on they count as buried, should we die now
        for name in dead:
            for kind in ("json", "alive"):
                with suppress(FileNotFoundError):
                    os.unlink(self._path(name, kind))
        return ended

    def _is_dead(self, name: str) -> bool:
        if name == self._name:
            return False
        try:
            fd = os.open(self._path(name, "alive"), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            return True
        finally:
            os.close(fd)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One page at a time: who is dead is buried once."""
        fd = os.open(self._path("page", "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _read(self, name: str) -> Snapshot:
        try:
            with open(self._path(name, "json"), "rb") as file:
                return msgspec.json.decode(file.read(), type=Snapshot)
        except (FileNotFoundError, msgspec.DecodeError):
            return Snapshot(series={})

    def _write(self, name: str, snapshot: Snapshot) -> None:
        path = self._path(name, "json")
        with open(f"{path}.{os.getpid()}", "wb") as file:
            file.write(msgspec.json.encode(snapshot))
        os.replace(file.name, path)

    def _path(self, name: str, kind: str) -> str:
        return os.path.join(self._directory, f"{name}.{kind}")
