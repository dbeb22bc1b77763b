"""Who is cancelled ends, also when the answer comes at that very moment."""

import asyncio
import random
from contextlib import asynccontextmanager

import pytest

from argosy.settings import Settings
from argosy.stores.remote.transport import Request, Transport, Trust, heeding


@asynccontextmanager
async def answering():
    """A transport, and the address of a server that answers `ok`."""
    tasks = set()

    async def serve(reader, writer):
        tasks.add(asyncio.current_task())
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    transport = Transport(Settings.load(), lambda _url: Trust())
    try:
        yield transport, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        await transport.close()
        server.close()
        await asyncio.gather(*tasks)


async def test_a_cancelled_request_never_goes_on():
    dice, loop = random.Random(7), asyncio.get_running_loop()
    async with answering() as (transport, url):

        async def ask():
            async with await transport.send(Request(method="GET", url=url)) as answer:
                assert await answer.read() == b"ok"

        await ask()
        began = loop.time()
        for _ in range(20):
            await ask()
        usual, cancelled = (loop.time() - began) / 20, 0
        for _ in range(400):
            task = asyncio.create_task(ask())
            await asyncio.sleep(dice.uniform(0, usual))
            if task.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await task
                cancelled += 1
        assert cancelled > 20
        await ask()  # and nothing that was broken off stands in the way


async def test_a_cancellation_that_the_library_forgot_is_heeded():
    async def forgetful():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "an answer"

    async def ask():
        return await heeding(forgetful())

    task = asyncio.create_task(ask())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await ask()


async def test_who_cleans_up_after_a_cancellation_is_not_cancelled_again():
    done = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            done.append(await heeding(asyncio.sleep(0, "in order")))

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["in order"]
