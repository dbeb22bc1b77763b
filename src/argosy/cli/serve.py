"""`argosy serve`."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argosy.cli.options import Parser
    from argosy.server.http.server import ServerOptions
    from argosy.server.listening import Address, TLSFiles

HELP = (
    "Run a registry on a directory. Prints one line when it is ready; SIGTERM and SIGINT let"
    " running requests end. Without authentication it listens on this machine only."
)


def arguments(parser: "Parser") -> None:
    """The words of `serve`."""
    add = parser.add_argument
    add(
        "--listen",
        metavar="HOST:PORT",
        default="127.0.0.1:5000",
        help="the address; port 0 takes a free one",
    )
    add("--data", metavar="DIR", help="where everything is kept (default: in ARGOSY_HOME)")
    add("--tls-cert", metavar="FILE", default="", help="PEM certificate with its chain: https")
    add("--tls-key", metavar="FILE", default="", help="the certificate's PEM key")
    add(
        "--client-ca",
        metavar="FILE",
        default="",
        help="PEM authority: only clients with a certificate of it get in",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    import gc

    # What is imported and made at the start stays: collecting it, now or later, is lost time.
    gc.disable()
    from argosy.server import listening
    from argosy.server.http.server import run as run_loop

    address = listening.Address.parse(args.listen)
    files = listening.TLSFiles(
        certificate=args.tls_cert, key=args.tls_key, client_ca=args.client_ca
    )
    listening.check(address, files)
    options = _options(address, files)
    return run_loop(_serve(args, address, options))


def _options(address: "Address", files: "TLSFiles") -> "ServerOptions":
    from argosy.server.http.server import ServerOptions

    tls = None
    if files.certificate:
        from argosy.server.http.tls import tls_context

        tls = tls_context(files.certificate, files.key, client_ca=files.client_ca or None)
    return ServerOptions(host=address.host, port=address.port, tls=tls)


async def _serve(args: argparse.Namespace, address: "Address", options: "ServerOptions") -> int:
    import asyncio
    import gc
    import logging
    import signal
    from dataclasses import replace

    from argosy.server.app import open_app
    from argosy.server.http.server import Server
    from argosy.server.listening import data_directory
    from argosy.server.process import allow_many_files, settle
    from argosy.settings import Settings

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    allow_many_files()
    settings = Settings.load()
    data = data_directory(args.data, settings.home)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_app(data, upload_ttl=settings.upload_ttl) as app:
        async with Server(app, replace(options, log=app.metrics.tell)) as server:
            scheme = "https" if options.tls else "http"
            where = address.with_port(server.port)
            settle()
            gc.enable()
            print(f"argosy: serving {scheme}://{where} data={data}", flush=True)
            await stop.wait()
    return 0
