"""`argosy serve`."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argosy.cli.options import Parser
    from argosy.server.config.sections import ServerSettings

HELP = (
    "Run a registry on a directory. Prints one line when it is ready; SIGTERM and SIGINT let"
    " running requests end. Without authentication it listens on this machine only."
)


def arguments(parser: "Parser") -> None:
    """The words of `serve`."""
    add = parser.add_argument
    add("--config", metavar="FILE", default="", help="argosy.toml: every setting there is")
    add("--listen", metavar="HOST:PORT", help="the address; port 0 takes a free one")
    add("--data", metavar="DIR", help="where everything is kept (default: in ARGOSY_HOME)")
    add("--workers", metavar="N", type=int, help="processes that share the port")
    add("--tls-cert", metavar="FILE", help="PEM certificate with its chain: https")
    add("--tls-key", metavar="FILE", help="the certificate's PEM key")
    add(
        "--client-ca",
        metavar="FILE",
        help="PEM authority: only clients with a certificate of it get in",
    )
    add("--auth", action="store_true", default=None, help="ask everybody who they are")
    add(
        "--insecure-http",
        action="store_true",
        default=None,
        help="take passwords over plain http from other machines",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    import gc

    # What is imported and made at the start stays: collecting it, now or later, is lost time.
    gc.disable()
    from argosy.server.starting.running import checked, serve

    settings = _settings(args)
    checked(settings)
    if settings.server.workers > 1:
        from argosy.server.starting.workers import Supervisor

        return Supervisor(settings, lambda: _settings(args)).run()
    from argosy.server.http.server import run as run_loop

    return run_loop(serve(settings))


def _settings(args: argparse.Namespace) -> "ServerSettings":
    """What file, environment and flags say; read again by workers that start later."""
    from argosy.server.config.loading import load, table
    from argosy.server.starting.running import with_data
    from argosy.settings import Settings

    flags = {item.key: _given(args, item.flag) for item in table() if item.flag}
    return with_data(load(args.config, flags=flags), Settings.load().home)


def _given(args: argparse.Namespace, flag: str) -> object:
    return getattr(args, flag.removeprefix("--").replace("-", "_"))
