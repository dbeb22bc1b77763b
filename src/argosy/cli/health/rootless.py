"""The doctor on building without root: user namespaces, and ids to give away."""

from argosy.build.rootless.namespaces import Entered
from argosy.cli.health.finding import Finding, failed
from argosy.errors import RuntimeUnavailable


def is_root(entered: "Entered | RuntimeUnavailable") -> bool:
    """Whether it is root who asks."""
    return isinstance(entered, Entered) and not entered.rootless and not entered.warning


def rootless(entered: "Entered | RuntimeUnavailable") -> Finding:
    """Whether this user can build without root, as far as the system has to allow it."""
    from dataclasses import replace

    if isinstance(entered, RuntimeUnavailable):
        # A user may only want to copy: that builds are forbidden is no defect.
        return replace(failed("rootless", entered), state="warn")
    if entered.warning:
        return Finding(
            check="rootless",
            state="warn",
            summary=entered.warning,
            next=entered.remedy,
        )
    if is_root(entered):
        return Finding(check="rootless", state="skip", summary="not needed: this is root")
    from argosy.build.rootless.mapping import mapped

    return Finding(
        check="rootless",
        state="ok",
        summary=f"builds work without root, with {mapped('uid')} user ids",
    )
