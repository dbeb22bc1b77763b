"""The page that Prometheus reads: what this process has counted, or all processes of the server.

Counting is plain arithmetic on the event loop; prometheus_client is imported and
its families are made when somebody asks.
"""

import asyncio
import hmac
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

import argosy
from argosy.concurrency import in_thread
from argosy.meters import declared as meters
from argosy.meters.kinds import Histogram, Labels, Metric
from argosy.server.http.messages import Request, Response
from argosy.server.observing.counting import process
from argosy.server.observing.counting.gathering import Gathering, Snapshot, merged
from argosy.server.observing.counting.traffic import Traffic
from argosy.values import frozen

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

Reading = Callable[[], float | Mapping[Labels, float]]
"""Reads a number that somebody else keeps, or several by their labels."""

_TYPE: Final = ("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
_PUBLISH_EVERY: Final = 1.0


@frozen(kw_only=True)
class MetricsOptions:
    """Who may read the page, and what it tells.

    Without a token only clients on this machine may, when `private`: names of projects are
    nothing to tell everybody.
    """

    projects: int = 50
    token: str = ""
    private: bool = False
    directory: str = ""  # that the processes of the server share; empty: there is one process

    def __repr__(self) -> str:
        return f"MetricsOptions(projects={self.projects}, directory={self.directory!r})"


class Metrics:
    """Counts what is answered; tells it, and what others count, in Prometheus' format."""

    def __init__(
        self, readings: Mapping[Metric, Reading], options: MetricsOptions | None = None
    ) -> None:
        self._options = options or MetricsOptions()
        self._readings = dict(readings)
        self._gathering: Gathering | None = None
        self.traffic: Final = Traffic(self._options.projects)
        self.tell: Final = self.traffic.tell

    def watch(self, metric: Metric, reading: Reading) -> None:
        """Tell also what `reading` says when asked."""
        self._readings[metric] = reading

    def allows(self, request: Request) -> bool:
        """Whether the request may read the page."""
        options = self._options
        if options.token:
            given = request.headers.get("authorization") or ""
            wanted = f"Bearer {options.token}"
            return hmac.compare_digest(given.encode(), wanted.encode())
        return not options.private or _is_local(request)

    async def page(self, request: Request | None = None) -> Response:
        """The answer to GET /metrics."""
        if request is not None and not self.allows(request):
            return Response(
                403,
                [("Content-Type", "text/plain; charset=utf-8")],
                b"the metrics are for clients on this machine, or with the token of the setting"
                b" metrics.token (Authorization: Bearer)\n",
            )
        mine = self.snapshot()
        return Response(200, [_TYPE], await in_thread(self._text, mine))

    def snapshot(self) -> Snapshot:
        """What this process has counted until now, without what only a thread may find out."""
        self.traffic.projects.settle(time.monotonic())
        readings: dict[Metric, dict[Labels, list[float]]] = {m: m.read() for m in meters.ALL}
        readings |= self.traffic.read()
        readings[meters.BUILD] = {(argosy.__version__, platform.python_version()): [1.0]}
        readings[meters.WORKERS] = {(): [1.0]}
        for metric, reading in self._readings.items():
            value = reading()
            cells = value if isinstance(value, Mapping) else {(): value}
            readings[metric] = {labels: [float(cell)] for labels, cell in cells.items()}
        return Snapshot.of(readings, self.traffic.projects.named)

    async def share(self) -> None:
        """Let the other processes of the server tell what this one counts; until cancelled."""
        gathering = Gathering(self._options.directory)
        await in_thread(gathering.open)
        self._gathering = gathering
        try:
            while True:
                await in_thread(_publish, gathering, self.snapshot())
                await asyncio.sleep(_PUBLISH_EVERY)
        finally:
            self._gathering = None  # the last word: what it counted stays
            await in_thread(_publish, gathering, self.snapshot())
            gathering.close()

    def _text(self, mine: Snapshot) -> bytes:
        if self._gathering is None:
            return rendered(_complete(mine))
        _publish(self._gathering, mine)
        return rendered(self._gathering.all())


def _complete(mine: Snapshot) -> Snapshot:
    return merged([mine, Snapshot.of(process.read())])


def _publish(gathering: Gathering, mine: Snapshot) -> None:
    gathering.publish(_complete(mine))


def _is_local(request: Request) -> bool:
    # What a proxy on this machine passes on comes from elsewhere.
    passed_on = "x-forwarded-for" in request.headers or "forwarded" in request.headers
    host = request.peer.rpartition(":")[0]
    return not passed_on and (host in ("127.0.0.1", "::1") or request.peer == "unix")


def rendered(snapshot: Snapshot) -> bytes:
    """The text exposition format, version 0.0.4."""
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(snapshot))
    return generate_latest(registry)


@frozen(eq=False)
class _Families:
    """A snapshot as prometheus_client's collectors tell it."""

    snapshot: Snapshot

    def collect(self) -> Iterator["Family"]:
        """The families, in the order of the declarations."""
        for metric in meters.ALL:
            cells = dict(self.snapshot.series.get(metric.name, ()))
            if "project" in metric.labels and metric.kind != "gauge":
                shown = self.snapshot.projects | {"other"}
                place = metric.labels.index("project")
                cells = {labels: cell for labels, cell in cells.items() if labels[place] in shown}
            if cells:
                yield _family(metric, cells)


def _family(metric: Metric, cells: Mapping[Labels, list[float]]) -> "Family":
    from prometheus_client import metrics_core as core  # noqa: PLC0415

    if isinstance(metric, Histogram):
        made = core.HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, (total, *counts) in cells.items():
            made.add_metric(labels, _cumulative(metric, counts), sum_value=total)
        return made
    kind = core.CounterMetricFamily if metric.kind == "counter" else core.GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, cell in cells.items():
        family.add_metric(labels, cell[0])
    return family


def _cumulative(metric: Histogram, counts: list[float]) -> list[tuple[str, float]]:
    found, total = [], 0.0
    for bound, count in zip([*map(str, metric.bounds), "+Inf"], counts, strict=True):
        total += count
        found.append((bound, total))
    return found
