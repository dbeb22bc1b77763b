"""A server process from its settings to its end: listen, say so, serve, drain, stop."""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from argosy.errors import ArgosyError
from argosy.server.app import App
from argosy.server.config.loading import misspelt
from argosy.server.config.sections import ServerSection, ServerSettings
from argosy.server.http.common import ServerOptions
from argosy.server.http.server import Server
from argosy.server.observing.addresses import Proxies
from argosy.server.observing.logs import LogOptions, logging_to
from argosy.server.observing.observer import Observer
from argosy.server.observing.tracing import TracingOptions, tracing_to
from argosy.server.starting import listening
from argosy.server.starting.listening import Address, TLSFiles
from argosy.server.starting.opening import ALONE, Place, open_app
from argosy.server.starting.process import allow_many_files, settle
from argosy.values import frozen

if TYPE_CHECKING:
    from ssl import SSLContext

log = logging.getLogger("argosy.server")

_STDERR = 2


def tell(line: str) -> None:
    """Say on standard output that the server is ready: scripts wait for it."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@frozen(kw_only=True)
class Post:
    """Where a process serves: its place among others, and the socket they share."""

    place: Place = ALONE
    inherited: socket.socket | None = None
    ready: Callable[[str], None] = tell


def files_of(section: ServerSection) -> TLSFiles:
    """The PEM files the settings name."""
    return TLSFiles(certificate=section.tls_cert, key=section.tls_key, client_ca=section.client_ca)


def checked(settings: ServerSettings) -> Address:
    """The address to listen on; UsageError if what the settings say of it contradicts itself."""
    section = settings.server
    address = Address.parse(section.listen)
    listening.check(address, files_of(section), auth=settings.auth.enabled)
    return address


def _warn(settings: ServerSettings) -> None:
    """Say what is risky and not forbidden."""
    section = settings.server
    meant = not settings.auth.enabled or section.insecure_http or section.trusted_proxies
    why = listening.in_the_clear(Address.parse(section.listen), files_of(section))
    if why and not meant:
        log.warning("%s", why)
    for slip in misspelt(os.environ):
        log.warning("%s", slip)


def announcement(settings: ServerSettings, port: int) -> str:
    """The one line that says that the server is ready."""
    scheme = "https" if settings.server.tls_cert else "http"
    where = Address.parse(settings.server.listen).with_port(port)
    return f"argosy: serving {scheme}://{where} data={settings.server.data}"


async def serve(settings: ServerSettings, post: Post | None = None) -> int:
    """Serve until SIGTERM or SIGINT; then, after `drain`, let running requests end for `grace` seconds."""
    post = post or Post()
    allow_many_files()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        access_log = stack.enter_context(logging_to(_STDERR, _log(settings)))
        app = await stack.enter_async_context(open_app(settings, post.place))
        proxies = Proxies(settings.server.trusted_proxies)
        tracer = await stack.enter_async_context(tracing_to(_tracing(settings)))
        listeners = [*app.listeners, access_log.tell]
        observer = Observer(app, listeners, proxies=proxies, tracer=tracer)
        server = Server(observer, replace(_options(settings, post), log=observer.tell))
        await server.start()
        stack.push_async_callback(server.shutdown, settings.server.grace)
        settle()
        gc.enable()
        if post.place.keeps_house:
            _warn(settings)
        if post.place.is_alone:
            _renew_on_hangup(settings, server.options.tls)
        post.ready(announcement(settings, server.port))
        await stop.wait()
        await _drain(app, settings.server.drain)
    return 0


def _renew_on_hangup(settings: ServerSettings, context: "SSLContext | None") -> None:
    """SIGHUP reads the certificate anew; connections and everything else stay as they are."""

    def renew() -> None:
        from argosy.server.http.tls import renew  # noqa: PLC0415 - most start without

        if context is None:
            log.warning("SIGHUP changes nothing here: settings are read at the start")
            return
        files = files_of(settings.server)
        try:
            renew(context, files.certificate, files.key)
        except ArgosyError as e:
            log.error("the certificate of before stays: %s: %s", e.summary, e.why)  # noqa: TRY400
        else:
            log.warning("the certificate was read anew")

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, renew)


async def _drain(app: App, seconds: float) -> None:
    """Be not ready for a while before the end, so that balancers send no more."""
    if seconds:
        app.readiness.draining = True
        await asyncio.sleep(seconds)


def _options(settings: ServerSettings, post: Post) -> ServerOptions:
    address = Address.parse(settings.server.listen)
    return ServerOptions(
        host=address.host,
        port=address.port,
        inherited=post.inherited,
        tls=_tls(files_of(settings.server)),
        max_connections=settings.server.max_connections,
        request_ids=True,
    )


def _tls(files: TLSFiles) -> "SSLContext | None":
    if not files.certificate:
        return None
    from argosy.server.http.tls import tls_context  # noqa: PLC0415 - most start without

    return tls_context(files.certificate, files.key, client_ca=files.client_ca or None)


def _log(settings: ServerSettings) -> LogOptions:
    section = settings.log
    return LogOptions(
        format=section.format,  # type: ignore[arg-type]  # the settings allow no other words
        level=section.level,  # type: ignore[arg-type]
        access=section.access,  # type: ignore[arg-type]
        sample=section.sample,
    )


def _tracing(settings: ServerSettings) -> TracingOptions:
    section = settings.tracing
    return TracingOptions(endpoint=section.endpoint, sample=section.sample, service=section.service)


def with_data(settings: ServerSettings, home: str) -> ServerSettings:
    """The settings with the data directory as an absolute path; without one it is in `home`."""
    data = os.path.abspath(settings.server.data or os.path.join(home, "registry"))
    return replace(settings, server=replace(settings.server, data=data))
