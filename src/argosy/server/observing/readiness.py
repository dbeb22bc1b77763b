"""Whether the server can do its work: `/readyz` for balancers, `/healthz` for who restarts it.

Alive is who answers: a database that is away is no reason to be killed. Ready is who
reaches all that it needs, as last looked at, at most `fresh` seconds ago: asking often
costs nothing, and a check that hangs is a check that failed.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import text

from argosy.catalog.database import Database
from argosy.concurrency import in_thread
from argosy.errors import ArgosyError, StorageError
from argosy.meters import declared as meters
from argosy.server.http.messages import Request, Response
from argosy.values import frozen

if TYPE_CHECKING:
    from argosy.access.tokens.keys import KeyRing

Check = Callable[[], Awaitable[object]]
"""Raises an ArgosyError when what it looks at does not work."""

_TEXT: Final = ("Content-Type", "text/plain; charset=utf-8")
_JSON: Final = ("Content-Type", "application/json")
_FRESH: Final = ("Cache-Control", "no-store")


@frozen(kw_only=True)
class Finding:
    """What one check found."""

    name: str
    ok: bool
    seconds: float
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """As `/readyz` shows it."""
        found = {"name": self.name, "ok": self.ok, "seconds": round(self.seconds, 4)}
        return {**found, "why": self.why} if self.why else found


class Readiness:
    """Looks at what the server needs, once for all who ask at the same time."""

    def __init__(self, *, fresh: float = 1.0, patience: float = 3.0) -> None:
        self.draining = False
        self._fresh = fresh
        self._patience = patience
        self._checks: dict[str, Check] = {}
        self._found: Sequence[Finding] = ()
        self._at = -1e9
        self._lock = asyncio.Lock()

    def add(self, name: str, check: Check) -> None:
        """Look at this, too."""
        self._checks[name] = check

    async def page(self, _request: Request | None = None) -> Response:
        """The answer to GET /readyz: 200 or 503, and why."""
        found = await self.findings()
        ready = not self.draining and all(finding.ok for finding in found)
        status = "draining" if self.draining else "ready" if ready else "not ready"
        body = msgspec.json.encode({"status": status, "checks": [f.to_json() for f in found]})
        return Response(200 if ready else 503, [_JSON, _FRESH], body + b"\n")

    async def findings(self) -> Sequence[Finding]:
        """What was found, now or a moment ago."""
        if not self._is_fresh():
            async with self._lock:
                if not self._is_fresh():  # else somebody has looked while we waited
                    await self._look()
        return self._found

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._at <= self._fresh

    async def _look(self) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one(n, check)) for n, check in self._checks.items()]
        self._found = [task.result() for task in tasks]
        self._at = time.monotonic()
        for finding in self._found:
            meters.READY.set(float(finding.ok), finding.name)

    async def _one(self, name: str, check: Check) -> Finding:
        began, why = time.monotonic(), ""
        try:
            async with asyncio.timeout(self._patience):
                await check()
        except TimeoutError:
            why = f"no answer within {self._patience:g} s"
        except ArgosyError as e:
            why = e.summary
        except Exception as e:  # noqa: BLE001 - whatever it is, it is a reason not to be ready
            why = type(e).__name__
        return Finding(name=name, ok=not why, seconds=time.monotonic() - began, why=why)


async def alive(_request: Request) -> Response:
    """The answer to GET /healthz."""
    return Response(200, [_TEXT, _FRESH], b"ok\n")


def database_answers(database: Database) -> Check:
    """The database answers a query."""

    async def check() -> None:
        await database.glance(lambda conn: conn.execute(text("SELECT 1")).scalar())

    return check


def directory_is_writable(path: str) -> Check:
    """A file can be made in the directory, and holds what is written to it."""

    def write() -> None:
        try:
            with tempfile.TemporaryFile(dir=path) as file:  # without a name: nothing is left behind
                file.write(b"argosy")
                file.flush()
        except OSError as e:
            raise StorageError(f"blobs cannot be written: {e.strerror or e}") from e

    async def check() -> None:
        await in_thread(write)

    return check


def tokens_can_be_signed(keys: "KeyRing") -> Check:
    """There is a key that signs, and its tokens are accepted; read anew if it is time."""

    async def check() -> None:
        await keys.refresh()
        if keys.signing().accepted_until <= time.time():
            raise ArgosyError("the last signing key has expired", remedy="argosy admin rotate-key")

    return check
