"""What the server counts, and the page that Prometheus reads.

Counting is plain arithmetic on the event loop; prometheus_client is imported and
its families are made when somebody asks.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from argosy.concurrency import in_thread
from argosy.server.http.messages import Request, Response
from argosy.values import frozen

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

Gauges = Mapping[str, tuple[str, Callable[[], float]]]
"""Numbers that others keep: name to meaning and a way to read it. Names ending in _total count up."""

_BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_LABELS: Final = ["route", "method", "status"]


@dataclass(slots=True)
class _Tally:
    """Requests of one route, method and status."""

    seconds: float = 0.0
    sent: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(_BOUNDS) + 1))


class Metrics:
    """Counts requests; tells them, and what others count, in Prometheus' format."""

    def __init__(self, others: Gauges) -> None:
        self._tallies: dict[tuple[str, str, int], _Tally] = {}
        self._others = others

    def tell(self, request: Request, status: int, sent: int, seconds: float) -> None:
        """Count one answer."""
        # Both labels are from closed sets: a client cannot make up series.
        method = request.method if request.method in _METHODS else "other"
        key = (request.route, method, status)
        if (tally := self._tallies.get(key)) is None:
            tally = self._tallies[key] = _Tally()
        tally.seconds += seconds
        tally.sent += sent
        tally.buckets[bisect_left(_BOUNDS, seconds)] += 1

    async def page(self) -> Response:
        """The answer to GET /metrics."""
        copies = {key: replace(t, buckets=list(t.buckets)) for key, t in self._tallies.items()}
        others = {name: (meaning, read()) for name, (meaning, read) in self._others.items()}
        text = await in_thread(_render, _Families(copies, others))
        return Response(200, [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")], text)


@frozen(eq=False)
class _Families:
    """What is told at one moment, as prometheus_client's collectors tell it."""

    tallies: Mapping[tuple[str, str, int], _Tally]
    others: Mapping[str, tuple[str, float]]

    def collect(self) -> Iterator["Metric"]:
        """The families, made from the tallies."""
        from prometheus_client import metrics_core as core  # noqa: PLC0415

        requests = core.CounterMetricFamily("argosy_http_requests", "Answers", labels=_LABELS)
        sent = core.CounterMetricFamily("argosy_http_sent_bytes", "Body bytes sent", labels=_LABELS)
        times = core.HistogramMetricFamily(
            "argosy_http_request_seconds", "Time to the end of the answer", labels=_LABELS
        )
        for (route, method, status), tally in self.tallies.items():
            labels = [route, method, str(status)]
            requests.add_metric(labels, sum(tally.buckets))
            sent.add_metric(labels, tally.sent)
            times.add_metric(labels, _cumulative(tally.buckets), sum_value=tally.seconds)
        yield from (requests, sent, times)
        for name, (meaning, value) in self.others.items():
            family = core.CounterMetricFamily if name.endswith("_total") else core.GaugeMetricFamily
            yield family(name, meaning, value=value)


def _render(families: _Families) -> bytes:
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415

    registry = CollectorRegistry(auto_describe=False)
    registry.register(families)
    return generate_latest(registry)


def _cumulative(buckets: list[int]) -> list[tuple[str, float]]:
    found, total = [], 0
    for bound, count in zip([*map(str, _BOUNDS), "+Inf"], buckets, strict=True):
        total += count
        found.append((bound, float(total)))
    return found
