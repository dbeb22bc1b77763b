"""A process with a catalog of its own over a shared database, told what to do line by line.

push TAG SEED   tag TAG DIGEST   serve REF   hot REF   kept   delete REF   quit
"""

import asyncio
import contextlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from argosy.catalog.catalog import Catalog, open_catalog
from argosy.catalog.databases.options import DatabaseOptions
from argosy.model.digest import Digest
from tests.catalog.pushing import NAME, hearing, push

_HITS: Counter[str] = Counter()


async def main(where: str) -> None:
    """Serve until told to quit."""
    loop = asyncio.get_running_loop()
    async with open_catalog(where, DatabaseOptions(workers=True, patience=30)) as catalog:
        await hearing(catalog)
        print("ready", flush=True)
        tasks: list[asyncio.Task[None]] = []
        while words := (await loop.run_in_executor(None, sys.stdin.readline)).split():
            if words[0] == "quit":
                break
            if words[0] == "hot":
                tasks += [asyncio.ensure_future(_hot(catalog, words[1])) for _ in range(2)]
                print("hot", flush=True)
            else:
                print(await _do(catalog, *words), flush=True)
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _hot(catalog: Catalog, ref: str) -> None:
    """Ask all the time, so that reads are always under way and what is kept is fresh."""
    while True:
        _HITS[ref] += catalog.at_hand(NAME, ref) is not None
        await catalog.manifest(NAME, ref)
        await asyncio.sleep(0.0002)


async def _do(catalog: Catalog, verb: str, *words: str) -> str:
    if verb == "push":
        return (await push(catalog, words[0], seed=words[1].encode())).digest
    if verb == "tag":
        await catalog.tag(NAME, Digest(words[1]), words[0])
        return "done"
    if verb == "delete":
        if ":" in words[0]:
            await catalog.delete_manifest(NAME, Digest(words[0]))
        else:
            await catalog.delete_tag(NAME, words[0])
        return "done"
    if verb == "serve":
        held = catalog.at_hand(NAME, words[0]) or await catalog.manifest(NAME, words[0])
        return held.digest if held else "nothing"
    return str(_HITS.total())


class Node:
    """The other end of it: `node("push v1 x")` is what it answers."""

    def __init__(self, where: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.catalog.node", where],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
        )
        if (said := self._line()) != "ready":
            self.kill()
            raise AssertionError(f"a process did not start: {said!r}")

    def __call__(self, line: str) -> str:
        """Have it done; the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        """End it without a word, as `kill -9` does."""
        self.process.kill()
        self._close()

    def quit(self) -> None:
        """End it in order."""
        if self.process.poll() is None:
            assert self.process.stdin is not None
            self.process.stdin.write("quit\n")
            self.process.stdin.flush()
        try:
            self.process.wait(20)
        finally:
            self.kill()

    def _close(self) -> None:
        self.process.wait(20)
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if stream is not None:
                    stream.close()


@contextmanager
def processes(where: str, count: int) -> Iterator[list[Node]]:
    """Several of them over one database."""
    started: list[Node] = []
    try:
        started.extend(
            Node(where) for _ in range(count)
        )  # one by one: if one fails, the others end
        yield started
    finally:
        for node in started:
            node.quit()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
