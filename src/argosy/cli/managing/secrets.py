"""Secrets of the command line: asked for on the terminal or read from stdin, never an argument."""

from argosy.errors import UsageError


def new_password(name: str, *, from_stdin: bool, twice: bool = True) -> str:
    """A password for `name`: a line of stdin, or what a person types (twice, if it is new)."""
    import getpass
    import sys

    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask for the password on",
            remedy="give it on stdin, with --password-stdin",
        )
    password = getpass.getpass(f"Password of {name}: ")
    if twice and getpass.getpass("Again: ") != password:
        raise UsageError("the two passwords differ")
    return password


def told_once(what: str) -> None:
    """Say, apart from the result, that a secret will not be shown again."""
    told(f"Keep {what}: it is not shown again.")


def told(words: str) -> None:
    """Say something apart from the result."""
    import sys

    print(words, file=sys.stderr)


async def asked_for(name: str, *, from_stdin: bool, current: bool) -> tuple[str, str]:
    """The present password, if it is needed, and the new one."""
    from argosy.concurrency import in_thread

    before = ""
    if current:
        before = await in_thread(new_password, f"{name} (now)", from_stdin=from_stdin, twice=False)
    return before, await in_thread(new_password, f"{name} (new)", from_stdin=from_stdin)
