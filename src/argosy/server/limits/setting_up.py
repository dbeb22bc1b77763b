"""The limiter and the room as the settings say, and what they do in the background."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from argosy.background import Job, beside
from argosy.catalog.database import Database
from argosy.catalog.projects.projects import Projects
from argosy.server.config.sections import ServerSettings
from argosy.server.limits.limiter import Limiter
from argosy.server.limits.room import Room
from argosy.values import frozen


@frozen
class Limiting:
    """What is asked of requests and of uploads; `projects` is what they know the tenants by."""

    projects: Projects
    limiter: Limiter
    room: Room


def unlimited(database: Database) -> Limiting:
    """Nothing but what projects say of themselves."""
    projects = Projects(database)
    return Limiting(projects, Limiter(projects), Room(database, projects))


@asynccontextmanager
async def limiting(settings: ServerSettings, database: Database) -> AsyncIterator[Limiting]:
    """Limits by the settings, shared through Redis if there is one; usage is folded meanwhile."""
    section, uploads, projects = settings.limits, settings.uploads, Projects(database)
    room = Room(
        database,
        projects,
        in_flight=uploads.in_flight,
        ttl=uploads.ttl,
        in_database=settings.storage.backend == "s3",
    )
    jobs: dict[str, Job] = {"folding usage": room.accounts.run}
    shared = None
    if settings.redis.url:
        from argosy.server.limits.sharing import RedisBuckets  # noqa: PLC0415 - 90 ms

        shared = RedisBuckets(settings.redis.url, settings.redis.password, nodes=section.nodes)
        jobs["sharing limits"] = shared.run
    async with beside(jobs):
        yield Limiting(projects, Limiter(projects, section, shared), room)
