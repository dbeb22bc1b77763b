"""The command `argosy`: find the verb, run it, tell errors, give the exit code.

Only the table of verbs is known here. Whatever costs time to import is imported
by the verb that needs it, when it runs (docs/adr/0003-command-line.md).
"""

import gc
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from argosy import __version__
from argosy.cli import verbs
from argosy.errors import ArgosyError, UsageError

if TYPE_CHECKING:
    from argosy.cli.options import Parser

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
BROKEN_PIPE = 128 + signal.SIGPIPE


def main() -> NoReturn:
    """The process `argosy`: run its command line, and leave."""
    gc.set_threshold(100_000, 20, 50)  # imports make much that lives: looking there costs 10 ms
    code = command(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    # Not sys.exit: threads of the HTTP client's runtime may outlive the interpreter and abort the
    # process while it is taken down. Everything that has to be closed has been closed by now.
    os._exit(code)


def command(argv: Sequence[str]) -> int:
    """Run one command line; gives the exit code (docs/exit-codes.md)."""
    words = list(argv)
    try:
        code = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        return _quiet_pipe()
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as e:  # a verb's library may exit; its code stands
        return e.code if isinstance(e.code, int) else 1
    except BaseException as e:  # noqa: BLE001 - the last boundary: everything becomes words and a code
        return _tell(e, words)
    return code


def _run(words: list[str]) -> int:
    before = [w for w in words[:1] if w in ("--debug", "-D")]  # the one flag that may go first
    words = words[len(before) :]
    if words in (["--version"], ["-v"]):
        print(f"argosy {__version__}")
        return 0
    if not words or words[0] in ("--help", "-h", "help"):
        return _help(words[1:])
    if words[1:] in ([], ["--help"], ["-h"]) and verbs.below(words[0]):
        return _help(words[:1])
    call = verbs.find(words)
    if call is None:
        raise _unknown(words)
    module = import_module(f"argosy.cli.{call.verb.module}")
    args = parser(call.verb, module).parse_args([*before, *call.rest])
    outcome = module.run(args)
    return int(outcome) if isinstance(outcome, int) else _await(outcome)


def parser(verb: verbs.Verb, module: ModuleType | None = None) -> "Parser":
    """The parser of one verb's words."""
    from argosy.cli.options import Parser

    module = module or import_module(f"argosy.cli.{verb.module}")
    made = Parser(prog=f"argosy {verb.name}", description=getattr(module, "HELP", verb.help))
    module.arguments(made)
    made.add_debug()
    return made


def _await(outcome: Coroutine[Any, Any, int]) -> int:
    import asyncio

    async def until_terminated() -> int:
        # SIGINT is asyncio.run's own affair; SIGTERM has to undo mounts and temporary files as well.
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        stopped = False

        def stop() -> None:
            nonlocal stopped
            stopped = True
            task.cancel()

        loop.add_signal_handler(signal.SIGTERM, stop)
        try:
            return await outcome
        except asyncio.CancelledError:
            if stopped:
                return TERMINATED
            raise

    return asyncio.run(until_terminated())


def _help(words: list[str]) -> int:
    group = verbs.below(words[0]) if len(words) == 1 else []
    call = verbs.find(words)
    if group:
        print(_group(words[0], group), end="")
    elif call is not None:
        print(parser(call.verb).format_help(), end="")
    elif words:
        raise _unknown(words)
    else:
        print(overview(), end="")
    return 0


def _group(word: str, group: Sequence[verbs.Verb]) -> str:
    """What `argosy robot` prints."""
    width = max(len(verb.name) for verb in group) + 2
    lines = [f"Usage: argosy {word} VERB [ARGUMENTS]", ""]
    lines += [f"  {verb.name:{width}}{verb.help}" for verb in group]
    lines += ["", f"`argosy {word} VERB --help` tells more."]
    return "\n".join(lines) + "\n"


def overview() -> str:
    """What `argosy --help` prints."""
    lines = ["Usage: argosy VERB [ARGUMENTS]", "", "From a Dockerfile to every node that runs it."]
    group = ""
    width = max(len(verb.name) for verb in verbs.VERBS) + 2
    for verb in verbs.VERBS:
        if verb.group != group:
            group = verb.group
            lines += ["", f"{group}:"]
        lines.append(f"  {verb.name:{width}}{verb.help}")
    lines += [
        "",
        "`argosy VERB --help` tells more. `--debug` shows tracebacks and may go before the verb.",
        "Exit codes: 0 done, 1 failed, 2 usage, 3 access, 4 not found, 5 content not what its name",
        "says, 6 network, 7 rate limit, 8 different (diff), 130 interrupted.",
    ]
    return "\n".join(lines) + "\n"


def _unknown(words: list[str]) -> UsageError:
    import difflib

    group = verbs.below(words[0])
    two = bool(group) or words[0] in ("imagetools", "buildx")
    tried = " ".join(words[:2]) if two else words[0]
    known = [verb.name for verb in group] or [*(verb.name for verb in verbs.VERBS), *verbs.ALIASES]
    near = difflib.get_close_matches(tried, known, n=3)
    hint = "did you mean " + " or ".join(f"`argosy {n}`" for n in near) + "?" if near else ""
    where = f"argosy {words[0]}" if group else "argosy"
    return UsageError(
        f"argosy has no verb {tried!r}", why=hint, remedy=f"`{where} --help` lists the verbs"
    )


def _quiet_pipe() -> int:
    # The reader went away; whatever is still buffered must not fail again at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


def _tell(error: BaseException, words: list[str]) -> int:
    from argosy.cli.terminal import failures

    error = failures.plain_cause(error)
    if isinstance(error, BrokenPipeError):
        return _quiet_pipe()
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    options = words[: words.index("--")] if "--" in words else words
    if "--debug" in options or "-D" in options:
        import traceback

        traceback.print_exception(error)
    known = error if isinstance(error, ArgosyError) else failures.unexpected(error)
    failures.tell(known, as_json="--json" in options)
    return known.exit_code


if __name__ == "__main__":
    main()
