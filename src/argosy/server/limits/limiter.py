"""Which limits a request falls under, and whether it may go on.

What is limited: the requests of an account (where nobody says who they are, of an address),
the requests of a project, and the bytes per second of both. A project's own limits stand
above the server's. Where there are none, all this costs is a look into memory.
"""

import math
import time
from typing import Final

from argosy.access.permissions.principal import Principal
from argosy.access.signing_in.throttle import network
from argosy.catalog.projects.limits import Limits
from argosy.catalog.projects.projects import Held, Projects
from argosy.errors import RateLimited
from argosy.meters import declared as meters
from argosy.server.config.sections import LimitsSection
from argosy.server.guarding.who import address
from argosy.server.http.incoming import IncomingBody
from argosy.server.http.messages import Request, retry_after
from argosy.server.limits.bucket import Rate
from argosy.server.limits.pacing import TapPace
from argosy.server.limits.tap import Alone, Clock, Shared, Tap
from argosy.values import frozen

_MOST: Final = 20_000  # taps and plans that memory has
_BURST: Final = 2.0  # seconds' worth of requests, where no burst is set
_BYTES_BURST: Final = 0.25  # seconds' worth of bytes
_LEAST_BURST: Final = 64 << 10


class TooManyRequests(RateLimited):
    """Somebody comes more often than they may (429); `headers` say how often that is."""

    code = "too-many-requests"

    def __init__(self, whose: str, rate: Rate, delay: float) -> None:
        kind = whose.partition(" ")[0]
        again = retry_after(delay)
        after = again[1]
        window = max(1, math.ceil(rate.burst / rate.rate))
        super().__init__(
            f"{whose} sends more requests than the {rate.rate:g} per second it may",
            status=429,
            registry_code="TOOMANYREQUESTS",
            why=f"up to {rate.burst:g} may come at once; try again in {after} s",
            evidence={"limit": f"requests of the {kind}", "per_second": rate.rate},
        )
        # draft-ietf-httpapi-ratelimit-headers-10: a policy's quota and window, what is left of it.
        self.headers: Final = (
            again,
            ("RateLimit-Policy", f'"{kind}";q={int(rate.burst)};w={window}'),
            ("RateLimit", f'"{kind}";r=0;t={after}'),
        )


@frozen(eq=False)
class _Plan:
    """The limits of one account in one project, as long as `held` is what memory has of that."""

    held: Held | None
    requests: tuple[tuple[Tap, str], ...]
    inward: tuple[Tap, ...]
    outward: tuple[Tap, ...]


class Limiter:
    """Asked about each request that the guard has let in."""

    def __init__(
        self,
        projects: Projects,
        section: LimitsSection | None = None,
        shared: Shared | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        section = section or LimitsSection()
        self._projects = projects
        self._shared: Final[Shared] = shared or Alone(section.nodes)
        self._clock = clock
        self._accounts = Limits(
            requests=section.requests,
            burst=section.burst,
            download=section.account_download,
            upload=section.account_upload,
        )
        self._each = Limits(
            requests=section.project_requests,
            burst=section.project_burst,
            download=section.download,
            upload=section.upload,
        )
        self._quiet: Final = not (_paces(self._accounts) or _paces(self._each))
        self._taps: dict[str, Tap] = {}
        self._plans: dict[tuple[str, str], _Plan] = {}

    def at_once(self, request: Request, principal: Principal, project: str) -> bool:
        """Whether it may go on, as far as memory knows; False: ask `admit`. TooManyRequests."""
        held = None
        if project:
            held = self._projects.at_hand(project)
            if held is None:
                return False
            if self._quiet and not held.limited:
                return True
        elif self._quiet:
            return True
        plan = self._plan(_account(request, principal), project, held)
        for tap, whose in plan.requests:
            found = tap.at_once()
            if found is None:
                return False
            if not found:
                raise _refusal(tap, whose)
        _pace(request, plan)
        return True

    async def admit(self, request: Request, principal: Principal, project: str) -> None:
        """Let it go on, or TooManyRequests."""
        held = await self._projects.held(project) if project else None
        if self._quiet and not (held is not None and held.limited):
            return
        plan = self._plan(_account(request, principal), project, held)
        for tap, whose in plan.requests:
            if not await tap.one():
                raise _refusal(tap, whose)
        _pace(request, plan)

    def _plan(self, account: str, project: str, held: Held | None) -> _Plan:
        found = self._plans.get((account, project))
        if found is None or found.held is not held:
            self._make_room()
            found = self._plans[account, project] = self._made(account, project, held)
        return found

    def _made(self, account: str, project: str, held: Held | None) -> _Plan:
        requests: list[tuple[Tap, str]] = []
        inward: list[Tap] = []
        outward: list[Tap] = []
        parts = [(f"account {account}", self._accounts)]
        if held is not None and held.project is not None:
            parts.append((f"project {project}", held.project.limits.over(self._each)))
        for whose, limits in parts:
            if limits.requests:
                burst = limits.burst or limits.requests * _BURST
                rate = Rate(limits.requests, max(1.0, burst))
                requests.append((self._tap(f"{whose}:requests", rate), whose))
            for kind, value, taps in (
                ("upload", limits.upload, inward),
                ("download", limits.download, outward),
            ):
                if value:
                    taps.append(self._tap(f"{whose}:{kind}", _bytes(value)))
        return _Plan(held, tuple(requests), tuple(inward), tuple(outward))

    def _tap(self, key: str, rate: Rate) -> Tap:
        found = self._taps.get(key)
        if found is None or found.rate != rate:
            found = self._taps[key] = Tap(key, rate, self._shared, self._clock)
        return found

    def _make_room(self) -> None:
        if len(self._plans) >= _MOST or len(self._taps) >= _MOST:
            self._plans.clear()
            self._taps = {key: tap for key, tap in self._taps.items() if tap.busy}


def _paces(limits: Limits) -> bool:
    return bool(limits.requests or limits.download or limits.upload)


def _bytes(rate: int) -> Rate:
    return Rate(rate, max(_LEAST_BURST, rate * _BYTES_BURST))


def _account(request: Request, principal: Principal) -> str:
    if principal.id:
        return principal.name  # a token is its owner's
    return network(address(request))  # of IPv6, one client has very many


def _refusal(tap: Tap, whose: str) -> TooManyRequests:
    meters.THROTTLED.add("requests")
    return TooManyRequests(whose, tap.rate, tap.delay())


def _pace(request: Request, plan: _Plan) -> None:
    if plan.outward:
        request.pace = TapPace(plan.outward)
    if plan.inward and isinstance(request.body, IncomingBody):
        request.body.pace = TapPace(plan.inward)
