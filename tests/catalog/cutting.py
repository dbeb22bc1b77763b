"""A TCP proxy before PostgreSQL that can cut its connections at a chosen word of the client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit


@dataclass
class Cut:
    """What the proxy does: cut the first connection that says `word`, `after` it was passed on."""

    url: str = ""
    word: bytes = b""
    after: bool = False
    deaf: bool = False  # nothing is passed on in either direction, and nothing is closed
    cuts: int = 0
    open: int = 0
    refusing: bool = False
    _writers: "set[asyncio.StreamWriter]" = field(default_factory=set)

    def cut_all(self) -> None:
        """Cut every connection that is open now."""
        for writer in list(self._writers):
            writer.transport.abort()


@asynccontextmanager
async def cutting(url: str) -> AsyncIterator[Cut]:
    """The proxy in front of the server of `url`; its own address is `Cut.url`."""
    parts = urlsplit(url)
    cut = Cut()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if cut.refusing:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection(parts.hostname, parts.port)
        cut._writers |= {writer, back}
        cut.open += 1
        held = asyncio.Event()

        async def down() -> None:
            while data := await there.read(65536):
                while cut.deaf or (cut.cuts and held.is_set()):
                    await asyncio.sleep(0.02)
                writer.write(data)
                await writer.drain()

        async def upward() -> None:
            while data := await reader.read(65536):
                while cut.deaf:
                    await asyncio.sleep(0.02)
                if cut.word and cut.word in data:
                    cut.word, cut.cuts = b"", cut.cuts + 1
                    held.set()
                    if cut.after:
                        back.write(data)
                        await back.drain()
                        await asyncio.sleep(0.3)  # time to do it; its answer is held back
                    return
                back.write(data)
                await back.drain()

        tasks = [asyncio.ensure_future(down()), asyncio.ensure_future(upward())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            cut._writers -= {writer, back}
            cut.open -= 1
            writer.transport.abort()
            back.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    user = parts.netloc.rpartition("@")[0]
    cut.url = urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}"))
    try:
        yield cut
    finally:
        server.close()
        cut.cut_all()
        with suppress(asyncio.TimeoutError):
            async with asyncio.timeout(2):
                while cut.open:
                    await asyncio.sleep(0.01)
