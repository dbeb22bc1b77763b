"""Uploads that were begun and not finished: how many, and how old the oldest is."""

import asyncio
import logging
import os
import time
from typing import Final

from sqlalchemy import Connection, func, select

from argosy.catalog import schema as t
from argosy.catalog.database import Database
from argosy.concurrency import in_thread
from argosy.errors import ArgosyError
from argosy.meters import declared as meters
from argosy.stores.file_turns import STATE

log = logging.getLogger("argosy.server")

_EVERY: Final = 15.0


async def watch_uploads(database: Database, directory: str) -> None:
    """Look again and again, until cancelled; `directory` is where files of uploads are, if any."""
    while True:
        try:
            many, oldest = await database.read(_in_database)
            if directory:
                files, first = await in_thread(_in_directory, directory)
                many, oldest = many + files, min(oldest, first)
            meters.UPLOADS_LEFT.set(many)
            meters.UPLOAD_OLDEST.set(max(0.0, time.time() - oldest) if many else 0.0)
        except (ArgosyError, OSError) as e:
            log.debug("uploads could not be counted: %s", e)
        await asyncio.sleep(_EVERY)


def _in_database(conn: Connection) -> tuple[int, float]:
    u = t.uploads.c
    many, oldest = conn.execute(select(func.count(), func.min(u.touched_at))).one()
    return int(many), oldest / 1e6 if oldest else time.time()


def _in_directory(path: str) -> tuple[int, float]:
    many, oldest = 0, time.time()
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.endswith(STATE):  # the hash of the upload beside it
                continue
            try:
                oldest = min(oldest, entry.stat().st_mtime)
            except FileNotFoundError:  # it was finished meanwhile
                continue
            many += 1
    return many, oldest
