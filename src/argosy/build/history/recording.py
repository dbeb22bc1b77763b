"""`recording`: one build within the history, from its first moment to whatever its end is."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from argosy.build.history.record import HISTORY, BuildRecord, new_ref, outcome
from argosy.build.history.recorder import Recorder
from argosy.concurrency import in_thread_to_end
from argosy.errors import ArgosyError
from argosy.observe import Report
from argosy.settings import Settings

if TYPE_CHECKING:
    from argosy.build.options import BuildOptions, BuildResult
    from argosy.build.results.git_facts import GitFacts

_STEP_LINES = 40  # of what a failed step printed last


@dataclass(slots=True)
class Recording:
    """What a build adds to its record while it goes on."""

    ref: str
    report: Report
    result: "BuildResult | None" = None
    git: "GitFacts | None" = None


@asynccontextmanager
async def recording(
    options: "BuildOptions", settings: Settings, report: Report
) -> AsyncIterator[Recording]:
    """Record the build in the block, however it ends; then forget the oldest ones."""
    now = time.time()
    if settings.history_entries <= 0:
        yield Recording(new_ref(), report)
        return
    folder = os.path.join(settings.home, "build", HISTORY)

    def begin() -> Recorder:
        record = BuildRecord.begun(new_ref(), options, now)
        return Recorder(folder, record, report).begin()

    recorder = await in_thread_to_end(begin)
    this = Recording(recorder.record.ref, recorder)
    found: dict[str, Any] = {"status": "interrupted"}
    try:
        yield this
        found = {"status": "completed", **(outcome(this.result) if this.result else {})}
    except (asyncio.CancelledError, KeyboardInterrupt):
        found = {"status": "canceled"}
        raise
    except Exception as e:
        found = {"status": "error", "error": _told(e)}
        raise
    finally:
        found |= {"completed": time.time(), "git": asdict(this.git) if this.git else {}}

        def end() -> None:
            recorder.end(**found)
            with suppress(OSError, ArgosyError):
                _tidy(folder, settings)

        await in_thread_to_end(end)


def _tidy(folder: str, settings: Settings) -> None:
    names = [name for name in os.listdir(folder) if name.endswith(".json")]
    oldest = f"{int((time.time() - settings.history_age) * 1000):013d}"
    if len(names) > settings.history_entries or min(names, default=oldest) < oldest:
        from argosy.build.history.reading import History  # noqa: PLC0415 - not every build

        History(folder).tidy(settings.history_entries, settings.history_age)


def _told(e: Exception) -> dict[str, Any]:
    if not isinstance(e, ArgosyError):
        return {"summary": f"{type(e).__name__}: {e}"}
    said: dict[str, Any] = {
        "code": e.code,
        "summary": e.summary,
        "why": e.why,
        "remedy": e.remedy,
        "step": e.evidence.get("step"),
        "file": e.evidence.get("file"),
        "line": e.evidence.get("line"),
        "status": getattr(e, "status", None),
    }
    output = str(getattr(e, "output", "") or "")
    said["output"] = "\n".join(output.splitlines()[-_STEP_LINES:])
    return {name: value for name, value in said.items() if value not in (None, "")}
