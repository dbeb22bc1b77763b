"""What went through the server: counted at the end of each answer, understood when asked.

Counting is one lookup and some additions; which of it is a pull, a push or a refusal is
worked out for the metrics page.
"""

from bisect import bisect_left
from collections import defaultdict
from typing import Final

from argosy.meters import declared as meters
from argosy.meters.kinds import SECONDS, Labels, Metric
from argosy.server.http.messages import Request
from argosy.server.observing.counting.projects import Projects

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_TRANSFERS: Final = {  # (route, method): direction and kind
    ("manifests", "GET"): ("pull", "manifest"),
    ("manifests", "PUT"): ("push", "manifest"),
    ("blobs", "GET"): ("pull", "blob"),
    ("uploads", "POST"): ("push", "blob"),  # with the whole blob, or mounted
    ("upload", "PUT"): ("push", "blob"),
    ("upload", "PATCH"): ("push", "chunk"),
}
_BY_STATUS: Final = {401: "denied", 403: "denied", 404: "missing", 429: "throttled", 499: "gone"}
_BEGUN: Final = 202  # the answer to a POST that only opened an upload
_SENT, _RECEIVED, _SECONDS = 0, 1, 2  # places in a tally; then the buckets

Key = tuple[str, str, str, int]


class Traffic:
    """Counts answers by project, route, method and status."""

    def __init__(self, most_projects: int = 50) -> None:
        self._tallies: dict[Key, list[float]] = {}
        self.projects: Final = Projects(most_projects, self._forget)

    def tell(self, request: Request, status: int, sent: int, seconds: float) -> None:
        """Count one answer."""
        # All labels are from closed sets: a client cannot make up series.
        method = request.method if request.method in _METHODS else "other"
        project, route = "", request.route
        if request.repository and (route, method) in _TRANSFERS:
            name = request.repository.partition("/")[0]
            project = self.projects.label(name, known=status < 400)
        key = (project, route, method, status)
        try:
            tally = self._tallies[key]
        except KeyError:
            tally = self._tallies[key] = [0.0] * (len(SECONDS) + 4)
        tally[_SENT] += sent
        tally[_RECEIVED] += request.body.received
        tally[_SECONDS] += seconds
        tally[bisect_left(SECONDS, seconds) + 3] += 1

    def read(self) -> dict[Metric, dict[Labels, list[float]]]:
        """The metrics that this traffic makes."""
        found = _Sums()
        for (project, route, method, status), tally in list(self._tallies.items()):
            count, timing = sum(tally[3:]), tally[2:]
            where = (route, method, str(status))
            found.add(meters.HTTP_REQUESTS, where, [count])
            found.add(meters.HTTP_SENT, where, [tally[_SENT]])
            found.add(meters.HTTP_SECONDS, where, timing)
            transfer = _TRANSFERS.get((route, method)) if project else None
            if transfer is None or (route == "uploads" and status == _BEGUN):
                continue
            direction, kind = transfer
            told = outcome(status)
            pull = direction == "pull"
            count_of = meters.PULLS if pull else meters.PUSHES
            found.add(count_of, (project, kind, told), [count])
            if pull:
                found.add(meters.PULLED, (project,), [tally[_SENT]])
            else:
                found.add(meters.PUSHED, (project,), [tally[_RECEIVED]])
            found.add(meters.TRANSFER_SECONDS, (project, direction, told), _coarser(timing))
        return found.cells

    def _forget(self, project: str) -> None:
        for key in [key for key in self._tallies if key[0] == project]:
            # What the routes have counted in all must not go back.
            rest = self._tallies.setdefault(("", *key[1:]), [0.0] * (len(SECONDS) + 4))
            for place, value in enumerate(self._tallies.pop(key)):
                rest[place] += value


def outcome(status: int) -> str:
    """What became of a request, in one word."""
    if status < 400:
        return "redirected" if status in (302, 303, 307, 308) else "ok"
    return _BY_STATUS.get(status) or ("failed" if status >= 500 else "refused")


def _coarser(timing: list[float]) -> list[float]:
    """A cell over the bounds of HTTP_SECONDS as one over those of TRANSFER_SECONDS."""
    bounds = meters.TRANSFER_SECONDS.bounds
    cell = [timing[0], *([0.0] * (len(bounds) + 1))]
    for bound, count in zip((*SECONDS, float("inf")), timing[1:], strict=True):
        cell[bisect_left(bounds, bound) + 1] += count
    return cell


class _Sums:
    """Cells that are added up."""

    def __init__(self) -> None:
        self.cells: dict[Metric, dict[Labels, list[float]]] = defaultdict(dict)

    def add(self, metric: Metric, labels: Labels, cell: list[float]) -> None:
        held = self.cells[metric]
        before = held.get(labels)
        held[labels] = (
            cell if before is None else [a + b for a, b in zip(before, cell, strict=True)]
        )
