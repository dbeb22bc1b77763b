"""Why a step ran: the first of its inputs that is not what it was the time before.

A step that runs leaves its inputs behind, by name and in short; what needs no work costs
nothing. The time before is that of the same instruction in the same stage, else that of the
same place in it. What cannot be read is only a missing answer.
"""

import hashlib
import json
import os
import re
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress

from argosy.build.graph import Explains, Op, Part, Reason
from argosy.build.solver import Solution, inputs_first
from argosy.values import frozen

_SCHEMA = """
CREATE TABLE IF NOT EXISTS steps (
  project TEXT, stage TEXT, place TEXT, instruction TEXT, key TEXT, parts BLOB, created REAL,
  PRIMARY KEY (project, stage, place, key)) WITHOUT ROWID
"""
_KEPT = 3  # times before, of each place
_NAME = re.compile(r"\[(?P<stage>.*) (?P<number>\d+)/\d+\] (?P<instruction>.*)", re.DOTALL)
_SECRET = re.compile(r"TOKEN|SECRET|PASS|KEY|AUTH|CREDENTIAL", re.IGNORECASE)
_SHOWN = 40  # characters of a value
_BELOW = ("step ", "base ", "content ")  # what a step stands on


@frozen(kw_only=True)
class _Before:
    """A time before."""

    instruction: str
    key: str
    parts: Mapping[str, str]
    created: float


class Explanations:
    """What steps of one project were made of, on disk; see `told`."""

    def __init__(self, path: str, project: str, *, cached: bool = True) -> None:
        self._path = path
        self._project = hashlib.sha256(project.encode(errors="surrogateescape")).hexdigest()
        self._cached = cached

    def told(self, targets: Sequence[Op], solution: Solution) -> tuple[Reason, ...]:
        """Why each step of a finished build ran or did not (blocking); remembers those that ran."""
        steps = [op for op in inputs_first(targets) if op.name and op.inputs]
        unique = {solution.solved[id(op)].keys[0]: op for op in steps}
        if not any(solution.solved[id(op)].ran for op in unique.values()):
            return tuple(Reason(step=op.name, result="cached") for op in unique.values())
        try:
            with closing(self._opened()) as db, db:
                return tuple(self._told(db, op, solution) for op in unique.values())
        except (sqlite3.Error, OSError):
            found = ((op, solution.solved[id(op)].ran) for op in unique.values())
            return tuple(
                Reason(
                    step=op.name,
                    result="ran" if ran else "cached",
                    why="what it was before cannot be read" if ran else "",
                )
                for op, ran in found
            )

    def _told(self, db: sqlite3.Connection, op: Op, solution: Solution) -> Reason:
        if not solution.solved[id(op)].ran:
            return Reason(step=op.name, result="cached")
        key = str(solution.solved[id(op)].keys[0])
        parts = dict(_parts(op, solution))
        stage, place, instruction = _place(op.name)
        before = self._before(db, stage, place, instruction, key)
        self._remember(db, (stage, place, instruction, key), parts)
        if not self._cached:
            why = "--no-cache"
        elif solution.solved[id(op)].is_anew:
            why = "--no-cache-filter"
        else:
            why = _why(before, key, instruction, parts)
        return Reason(step=op.name, result="ran", why=why)

    def _before(
        self, db: sqlite3.Connection, stage: str, place: str, instruction: str, key: str
    ) -> _Before | None:
        sql = (
            "SELECT instruction, key, parts, created FROM steps WHERE project = ? AND stage = ?"
            " AND (place = ? OR instruction = ?)"
            " ORDER BY key = ? DESC, instruction = ? DESC, created DESC LIMIT 1"
        )
        words = (self._project, stage, place, instruction, key, instruction)
        row = db.execute(sql, words).fetchone()
        parts = _unpacked(row[2]) if row else None
        if parts is None:
            return None
        return _Before(instruction=row[0], key=row[1], parts=parts, created=row[3])

    def _remember(
        self, db: sqlite3.Connection, where: tuple[str, str, str, str], parts: Mapping[str, str]
    ) -> None:
        stage, place, instruction, key = where
        packed = zlib.compress(json.dumps(parts).encode(errors="surrogateescape"), 1)
        db.execute(
            "INSERT OR REPLACE INTO steps VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self._project, stage, place, instruction, key, packed, time.time()),
        )
        db.execute(
            "DELETE FROM steps WHERE project = ? AND stage = ? AND place = ? AND key NOT IN"
            " (SELECT key FROM steps WHERE project = ? AND stage = ? AND place = ?"
            " ORDER BY created DESC LIMIT ?)",
            (*(self._project, stage, place) * 2, _KEPT),
        )

    def _opened(self) -> sqlite3.Connection:
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        try:
            return self._connected()
        except sqlite3.DatabaseError as e:
            if isinstance(e, sqlite3.OperationalError):
                raise
            with suppress(FileNotFoundError):  # not a database: begin anew
                os.unlink(self._path)
            return self._connected()

    def _connected(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=5)
        try:
            db.execute("PRAGMA synchronous=OFF")  # it can be lost at any time
            db.execute(_SCHEMA)
        except BaseException:
            db.close()
            raise
        return db


def _place(name: str) -> tuple[str, str, str]:
    """Stage (with its platform), number and instruction of a step, from how it is shown."""
    found = _NAME.fullmatch(name)
    return (found["stage"], found["number"], found["instruction"]) if found else ("", name, name)


def _parts(op: Op, solution: Solution) -> Iterator[Part]:
    if isinstance(op, Explains):
        for name, value in op.parts():
            yield name, _digest(value) if _SECRET.search(name) else value
    for number, below in enumerate(op.inputs):
        label = below.name or "what it stands on"
        what = (
            "base" if not below.inputs and below.name else "step" if number == 0 else "content of"
        )
        yield f"{what} {_short(_unnumbered(label), 60)}", str(solution.solved[id(below)].keys[-1])


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode(errors="surrogateescape")).hexdigest()


def _unnumbered(label: str) -> str:
    """A step's name without the total, which changes when a step is added further down."""
    return re.sub(r"^\[(.*)/\d+\]", r"[\1]", label).partition("@sha256:")[0]


def _unpacked(packed: bytes) -> dict[str, str] | None:
    with suppress(zlib.error, ValueError, TypeError):
        found = json.loads(zlib.decompress(packed))
        if isinstance(found, dict) and all(isinstance(v, str) for v in found.values()):
            return found
    return None


def _why(before: _Before | None, key: str, instruction: str, parts: Mapping[str, str]) -> str:
    if before is None:
        return "no earlier build of it is remembered"
    if before.key == key:
        return "nothing changed, but its result is gone (pruned)"
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(before.created))
    found = list(_differences(before.parts, parts))
    if before.instruction != instruction:
        return f"the instruction changed; at {when} it was {_short(before.instruction)}"
    if not found:
        return "something it is made from changed"
    more = sum(1 for f in found if f.startswith("file ")) - 1
    and_more = (
        f", and {more} more file{'s' * (more > 1)}" if more > 0 and _is_file(found[0]) else ""
    )
    since = "" if found[0].startswith(_BELOW) else f" since {when}"
    return f"{found[0]}{and_more}{since}"


def _is_file(text: str) -> bool:
    return text.startswith("file ")


def _differences(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    """Each input that is not what it was, those of the step itself first."""
    for name in (*new, *(n for n in old if n not in new)):
        if old.get(name) != new.get(name):
            yield _difference(name, old.get(name), new.get(name))


def _difference(name: str, old: str | None, new: str | None) -> str:
    kind = name.partition(" ")[0]
    if old is None or new is None:
        return f"{name} is {'new' if old is None else 'gone'}"
    if kind == "file":
        (old_mode, _, old_bytes), (new_mode, _, new_bytes) = old.partition(" "), new.partition(" ")
        if old_bytes == new_bytes:
            return f"{name} changed from {old_mode} to {new_mode}"
        return f"{name} changed"
    if kind == "variable" and not _SECRET.search(name):
        return f"{name} changed from {_short(old)!r} to {_short(new)!r}"
    if kind in ("step", "content", "base", "variable", "mount", "flags"):
        return f"{name} changed"
    return f"{name} changed from {_short(old)} to {_short(new)}"


def _short(text: str, most: int = _SHOWN) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def table(reasons: Sequence[Reason]) -> str:
    """The reasons as lines for people: what ran, then why."""
    lines: list[str] = []
    for reason in reasons:
        lines.append(f"{reason.result:6}  {reason.step}")
        if reason.why:
            lines.append(f"        because {reason.why}")
    return "\n".join(lines) + "\n" if lines else ""
