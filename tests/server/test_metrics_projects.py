"""The label `project`: the busiest ones, a bounded number, and no jump when places change."""

from hypothesis import given
from hypothesis import strategies as st

from argosy.meters import declared as meters
from argosy.server.http.messages import MemoryBody, Request
from argosy.server.observing.counting.projects import Projects
from argosy.server.observing.counting.traffic import Traffic, outcome


def request(route: str, method: str, repository: str, received: int = 0) -> Request:
    body = MemoryBody()
    body.received = received
    made = Request(method, "/v2/", body=body)
    made.route, made.repository = route, repository
    return made


def pulls(traffic: Traffic) -> dict[tuple[str, ...], float]:
    return {labels: cell[0] for labels, cell in traffic.read().get(meters.PULLS, {}).items()}


def test_pulls_and_pushes_are_told_by_project_kind_and_outcome() -> None:
    traffic = Traffic()
    for route, method, status, sent, received in (
        ("manifests", "GET", 200, 500, 0),
        ("manifests", "HEAD", 200, 0, 0),  # a look, not a pull
        ("manifests", "GET", 404, 90, 0),
        ("blobs", "GET", 206, 700, 0),
        ("blobs", "GET", 307, 0, 0),
        ("blobs", "GET", 401, 10, 0),
        ("uploads", "POST", 202, 0, 0),  # only opens an upload
        ("uploads", "POST", 201, 0, 40),
        ("upload", "PATCH", 202, 0, 300),
        ("upload", "PUT", 201, 0, 0),
        ("manifests", "PUT", 403, 10, 0),
        ("manifests", "PUT", 201, 0, 20),
        ("tags", "GET", 200, 11, 0),
    ):
        traffic.tell(request(route, method, "team/app", received), status, sent, 0.02)
    found = traffic.read()
    assert pulls(traffic) == {
        ("team", "manifest", "ok"): 1,
        ("team", "manifest", "missing"): 1,
        ("team", "blob", "ok"): 1,
        ("team", "blob", "redirected"): 1,
        ("team", "blob", "denied"): 1,
    }
    assert {k: v[0] for k, v in found[meters.PUSHES].items()} == {
        ("team", "blob", "ok"): 2,
        ("team", "chunk", "ok"): 1,
        ("team", "manifest", "denied"): 1,
        ("team", "manifest", "ok"): 1,
    }
    assert found[meters.PULLED] == {("team",): [500 + 90 + 700 + 10]}
    assert found[meters.PUSHED] == {("team",): [360]}
    assert found[meters.HTTP_REQUESTS]["manifests", "GET", "200"] == [1]
    seconds = found[meters.TRANSFER_SECONDS]["team", "push", "ok"]
    assert sum(seconds[1:]) == 4
    assert round(seconds[0], 6) == 0.08


def test_outcomes_are_one_word_for_every_status() -> None:
    words = {outcome(status) for status in range(200, 600)}
    assert words == {
        "ok", "redirected", "denied", "missing", "throttled", "gone", "refused", "failed",
    }  # fmt: skip
    assert outcome(507) == "failed"
    assert outcome(416) == "refused"


def test_a_request_that_did_not_succeed_earns_its_project_no_series() -> None:
    traffic = Traffic()
    traffic.tell(request("manifests", "GET", "made/up"), 404, 0, 0.1)
    assert set(pulls(traffic)) == {("other", "manifest", "missing")}


def test_a_method_that_a_client_made_up_is_other() -> None:
    traffic = Traffic()
    traffic.tell(request("manifests", "BREW", "team/app"), 405, 0, 0.1)
    assert set(traffic.read()[meters.HTTP_REQUESTS]) == {("manifests", "other", "405")}


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=400))
def test_there_are_never_more_projects_than_places(hits: list[tuple[int, bool]]) -> None:
    gone: list[str] = []
    projects = Projects(5, gone.append)
    for now, (number, known) in enumerate(hits):
        label = projects.label(f"p{number}", known=known)
        assert label == "other" or label in projects.named
        if now % 7 == 0:
            projects.settle(float(now))
        assert len(projects.named) <= 5
    assert not set(gone) & projects.named


def test_a_busy_project_takes_the_place_of_a_quiet_one_and_counts_go_on_where_they_were() -> None:
    traffic = Traffic(1)
    for _ in range(10):
        traffic.tell(request("manifests", "GET", "old/app"), 200, 1, 0.1)
    for _ in range(100):
        traffic.tell(request("manifests", "GET", "new/app"), 200, 1, 0.1)
    assert traffic.projects.named == {"old"}
    traffic.projects.settle(10.0)
    assert traffic.projects.named == {"new"}
    for _ in range(500):
        traffic.tell(request("manifests", "GET", "old/app"), 200, 1, 0.1)
    traffic.projects.settle(20.0)
    assert traffic.projects.named == {"old"}
    traffic.tell(request("manifests", "GET", "old/app"), 200, 1, 0.1)
    found = pulls(traffic)
    assert found["old", "manifest", "ok"] == 11  # not 1: a counter that went back would be a reset
    assert found["other", "manifest", "ok"] == 600
    assert traffic.read()[meters.HTTP_REQUESTS]["manifests", "GET", "200"] == [611]


def test_what_is_forgotten_of_a_project_still_counts_for_the_routes() -> None:
    traffic = Traffic(1)
    for number in range(6):
        for _ in range(3 ** (number + 1)):
            traffic.tell(request("manifests", "GET", f"p{number}/app"), 200, 1, 0.1)
        traffic.projects.settle(number * 1.0)
    total = sum(3 ** (n + 1) for n in range(6))
    assert traffic.read()[meters.HTTP_REQUESTS]["manifests", "GET", "200"] == [total]
    assert len({labels[0] for labels in pulls(traffic)}) <= 3  # one named, one remembered, other
