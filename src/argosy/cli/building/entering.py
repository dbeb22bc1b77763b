"""Into the namespaces builds need, with a word to the user of what will not work there."""

import sys


def enter() -> None:
    """Go there, before any thread starts. RuntimeUnavailable says what forbids it."""
    from argosy.build.rootless.namespaces import enter as into

    entered = into()
    if entered.warning:
        print(f"warning: {entered.warning}\n  {entered.remedy}", file=sys.stderr)
