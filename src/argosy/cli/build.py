"""`argosy build`."""

import argparse
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Literal

from argosy.cli.building.calls import Call, answer, call_of
from argosy.cli.building.flags import arguments
from argosy.cli.building.reading import options_of
from argosy.errors import UsageError

if TYPE_CHECKING:
    from argosy.build.graph import Shell
    from argosy.build.options import Actions, ActionsStore
    from argosy.build.pipeline import BuildOptions, BuildResult
    from argosy.build.remote_cache.words import ActionsCache
    from argosy.cli.session import Session
    from argosy.content.store import Store
    from argosy.observe import Report

__all__ = ["HELP", "arguments", "run"]

HELP = (
    "Build an image from a Dockerfile, for one or more platforms, without a daemon. The result is"
    " kept in the local images; --push sends it to its registry, -o writes it elsewhere."
)


def run(args: argparse.Namespace) -> Coroutine[Any, Any, int]:
    """Build; prints each name with the digest."""
    from argosy.cli.building.entering import enter

    call = call_of(args)
    options = options_of(args, os.environ, sys.stdin.buffer.read)
    if call.method != "build":
        return _answer(args, call, options)
    if options.debug_shell and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("--debug-shell needs a terminal", remedy="leave it out in scripts")
    enter()  # before any thread starts: a mount namespace is a thread's own
    return _build(args, options)


async def _answer(args: argparse.Namespace, call: Call, options: "BuildOptions") -> int:
    from argosy.build.options import Ends
    from argosy.cli.session import Session

    async with Session(args) as session:
        ends = Ends(
            images=session.images(),
            repository=session.remote,
            archive=archive,
            fetch=session.fetch,
            layout=_layout,
            stdin=sys.stdin.buffer.read,
        )
        return await answer(call, options, session.settings, ends)


async def _build(args: argparse.Namespace, options: "BuildOptions") -> int:
    from argosy.build.pipeline import Ends, build
    from argosy.cli.session import Session

    async with Session(args) as session:
        ends = Ends(
            images=session.images(),
            repository=session.remote,
            archive=archive,
            shell=_shell(session.report),
            actions=_actions(args, session),
            fetch=session.fetch,
            layout=_layout,
            stdin=sys.stdin.buffer.read,
        )
        if args.verify_reproducible:
            from argosy.cli.building.verifying import verify

            return await verify(args, options, session, ends)
        with _summarised(session.report) as (report, facts):
            result = await build(options, settings=session.settings, ends=ends, report=report)
            facts += [(name, str(result.digest)) for name in result.names or ("(no name)",)]
    _tell(args, result)
    return 0


@contextmanager
def _summarised(report: "Report") -> "Iterator[tuple[Report, list[tuple[str, str]]]]":
    """The reporter of a build, and where its results go for the CI's job summary, if it wants one."""
    if not (path := os.environ.get("GITHUB_STEP_SUMMARY")):
        yield report, []
        return
    from argosy.cli.terminal.summary import summarised

    with summarised(path, report) as summary:
        yield summary, summary.facts


def _layout(path: str) -> "Store":
    from argosy.stores.layout import OCILayout

    return OCILayout(path)


def _actions(args: argparse.Namespace, session: "Session") -> "Actions":
    """GitHub's cache service, for caches of type gha."""

    @asynccontextmanager
    async def actions(wanted: "ActionsCache") -> "AsyncIterator[ActionsStore]":
        from dataclasses import replace

        from argosy.cli.access import hosts
        from argosy.stores.actions import ActionsCache, service_of
        from argosy.stores.remote.transport import Transport

        given = {"url": wanted.url, "url_v2": wanted.url_v2, "token": wanted.token}
        service = service_of(os.environ, **given)
        service = replace(service, scope=wanted.scope, timeout=wanted.timeout)
        transport = Transport(session.settings, hosts(args).trust)
        try:
            yield ActionsCache(service, transport, session.settings, session.report)
        finally:
            await transport.close()

    return actions


def _shell(report: "Report") -> "Shell":
    """Gives the terminal to the shell of a failed step (--debug-shell)."""
    from argosy.cli.terminal.progress import handed_over

    @contextmanager
    def shell(step: str) -> Iterator[None]:
        with handed_over(report):
            print(f"{step} failed; this shell is where it ran, `exit` goes on.", file=sys.stderr)
            yield

    return shell


def _tell(args: argparse.Namespace, result: "BuildResult") -> None:
    if args.explain and not args.json:
        from argosy.build.explain import table

        print(table(result.reasons), end="", file=sys.stderr)
    if args.json:
        from argosy.cli.terminal.table import print_json

        print_json(
            {
                "digest": str(result.digest),
                "mediaType": result.descriptor.media_type,
                "names": list(result.names),
                "platforms": [str(p) for p in result.platforms],
                "manifests": [m.to_json() for m in result.manifests],
                "steps": result.steps,
                "cached": result.cached,
                **({"explain": [r.to_json() for r in result.reasons]} if args.explain else {}),
            }
        )
    elif args.quiet or not result.names:
        print(result.digest)
    else:
        print("".join(f"{name}@{result.digest}\n" for name in result.names), end="")


@asynccontextmanager
async def archive(kind: Literal["oci", "docker"], path: str) -> AsyncIterator["Store"]:
    """A store that becomes an archive at `path`: `-` is stdout, `DIR/` an OCI layout."""
    if path.endswith("/"):
        from argosy.stores.layout import OCILayout

        yield OCILayout(path)
        return
    from argosy.stores.archive import write_archive

    if path != "-":
        async with write_archive(path, docker=kind == "docker") as store:
            yield store
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="argosy-") as scratch:
        whole_file = os.path.join(scratch, "image.tar")
        async with write_archive(whole_file, docker=kind == "docker") as store:
            yield store
        from argosy.concurrency import in_thread

        await in_thread(_to_stdout, whole_file)


def _to_stdout(path: str) -> None:
    import shutil

    with open(path, "rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer, 1 << 20)


_Archive = Callable[[Literal["oci", "docker"], str], AbstractAsyncContextManager["Store"]]
