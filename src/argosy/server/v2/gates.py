"""Gates: policies that a manifest has to pass on its way in and on its way out.

They come after access: who may not pull does not learn what a policy thinks. HEAD is a pull.
"""

from collections.abc import Sequence
from typing import Final

from argosy.content.policy import Moment, Policy, Refuse
from argosy.content.store import Source
from argosy.model.descriptor import Descriptor
from argosy.server.v2.errors import Problem


class Gates:
    """All the policies of a server; with none of them nothing is asked and nothing costs."""

    def __init__(self, policies: Sequence[Policy] = ()) -> None:
        self._policies: Final = tuple(policies)

    def __bool__(self) -> bool:
        return bool(self._policies)

    async def check(self, subject: Descriptor, source: Source, moment: Moment) -> None:
        """Problem 403 DENIED with the rule, its reason and the remedy, from the first that refuses."""
        for policy in self._policies:
            verdict = await policy.judge(subject, source, moment)
            if isinstance(verdict, Refuse):
                raise _refused(subject, verdict, moment)


OPEN: Final = Gates()


def _refused(subject: Descriptor, verdict: Refuse, moment: Moment) -> Problem:
    remedy = f"; {verdict.remedy}" if verdict.remedy else ""
    return Problem(
        403,
        "DENIED",
        f"policy {verdict.rule} refuses this {moment}: {verdict.reason}{remedy}",
        detail={
            "policy": verdict.rule,
            "reason": verdict.reason,
            "remedy": verdict.remedy,
            "digest": str(subject.digest),
        },
    )
