"""Copies through a link that breaks every connection after some bytes, to and from real registries."""

import asyncio
import random
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from argosy.content.copy import copy
from argosy.content.memory import MemoryStore
from argosy.model.reference import Reference
from argosy.stores.remote.client import Client
from argosy.stores.remote.credentials import Credentials
from argosy.stores.remote.hosts import Hosts, Places
from tests.stores.remote.remote_kit import FAST
from tests.stores.remote.test_remote_peer import an_image

pytestmark = pytest.mark.peer


class Link:
    """A TCP relay; a connection is reset once it has carried its share of bytes, in both directions."""

    def __init__(self, host: str, seed: int, least: int, most: int) -> None:
        self._to = host.split(":")
        self._dice = random.Random(seed)
        self._share = (least, most)
        self._tasks: set[asyncio.Task] = set()
        self.broken = 0

    async def accepted(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        left = [self._dice.randint(*self._share)]
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._to)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._carry(reader, up_writer, left))
                    group.create_task(self._carry(up_reader, writer, left))
            finally:
                up_writer.transport.abort()
        except* (ConnectionError, OSError):
            pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _carry(self, reader, writer, left):
        while data := await reader.read(64 << 10):
            left[0] -= len(data)
            if left[0] < 0:
                self.broken += 1
                raise ConnectionError
            writer.write(data)
            await writer.drain()
        raise ConnectionError

    async def stop(self):
        for task in list(self._tasks):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def flaky(host: str, seed: int, least=200_000, most=1_500_000):
    link = Link(host, seed, least, most)
    server = await asyncio.start_server(link.accepted, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", link
    finally:
        server.close()
        await link.stop()


@pytest.fixture(params=["argosy_registry", "docker_registry"])
def registry(request):
    return request.getfixturevalue(request.param).host


@pytest.mark.parametrize("chunk_size", [0, 150_000])
async def test_a_copy_over_a_link_that_keeps_breaking_arrives_whole(registry, chunk_size):
    source, back = MemoryStore(), MemoryStore()
    top = await an_image(source, layers=6)
    settings = replace(FAST, read_timeout=10.0, retries=40, chunk_size=chunk_size)
    async with flaky(registry, seed=chunk_size) as (host, link):
        async with Client(
            settings, hosts=Hosts({}, places=Places()), credentials=Credentials({"HOME": "/none"})
        ) as c:
            there = c.repository(Reference.parse(f"{host}/flaky/app{chunk_size}"))
            assert await copy(source, "v1", there) == top
            pushed, link.broken = link.broken, 0
            assert await copy(there, "v1", back) == top
    assert pushed >= 2, "the link was meant to break"
    assert link.broken >= 2
