"""Policy: judges a subject, and says why not. What stands between a push or pull and its answer."""

from typing import Literal, Protocol

from argosy.content.store import Source
from argosy.model.descriptor import Descriptor
from argosy.values import frozen

Moment = Literal["push", "pull"]


@frozen
class Pass:
    """Nothing speaks against it."""


@frozen(kw_only=True)
class Refuse:
    """It must not be: `rule` is which policy says so, `remedy` what would make it pass."""

    rule: str
    reason: str
    remedy: str = ""


Verdict = Pass | Refuse


class Policy(Protocol):
    """One rule about what is in a repository."""

    async def judge(self, subject: Descriptor, source: Source, moment: Moment) -> Verdict:
        """Whether `subject` may be pushed to or pulled from `source`.

        On a push its children are there and itself is not yet. Asked for every pull: what is
        slow to find out is remembered by the policy, by digest.
        """
        ...
