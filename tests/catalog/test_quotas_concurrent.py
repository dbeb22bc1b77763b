"""A quota is exact however many push at once: never more than it, and not a byte less."""

import asyncio
from typing import Any

import pytest

from argosy.catalog.actor import SYSTEM
from argosy.catalog.catalog import Catalog
from argosy.catalog.projects.accounts import Accounts
from argosy.catalog.projects.projects import ProjectChange, Projects
from argosy.catalog.projects.quotas import Amount, Quota, QuotaExceeded
from argosy.content.blob_storage import Stored
from argosy.model.digest import Digest
from tests.catalog.pushing import image

PUSHERS = 64


async def outcomes(work: list[Any]) -> tuple[int, list[QuotaExceeded]]:
    """How many pushes were accepted, and the refusals; anything else fails."""
    done = await asyncio.gather(*work, return_exceptions=True)
    refused = [one for one in done if isinstance(one, QuotaExceeded)]
    other = [one for one in done if isinstance(one, BaseException) and one not in refused]
    assert other == []
    return len(done) - len(refused), refused


def blob(nodes: list[Catalog], number: int, size: int) -> Any:
    name = f"team/app{number % 7}"
    node = nodes[number % len(nodes)]
    return node.link_blob(name, Digest.of(b"%d" % number), Stored(size))


async def team(nodes: list[Catalog], **quota: int) -> tuple[Projects, Accounts]:
    projects = Projects(nodes[0].database)
    await projects.create("team", ProjectChange(quota=Quota(**quota)), by=SYSTEM)
    return projects, Accounts(nodes[0].database)


async def test_big_blobs_as_many_as_fit_and_not_one_more(nodes: list[Catalog]) -> None:
    projects, accounts = await team(nodes, bytes=10_000)
    accepted, refused = await outcomes([blob(nodes, n, 300) for n in range(PUSHERS)])
    assert accepted == 33
    assert (await projects.usage("team"))[1] == Amount(9900)
    assert all(9700 < e.used + e.needed - 300 <= 9900 or e.used + 300 > 10_000 for e in refused)
    assert (await accounts.recount("team")).off == Amount()


async def test_small_blobs_cross_from_the_shared_lock_to_the_exclusive_one(
    nodes: list[Catalog],
) -> None:
    # Of a limit of 100 000, blobs of 60 are charged under the shared lock up to 90 %.
    projects, accounts = await team(nodes, bytes=100_000)
    await nodes[0].link_blob("team/base", Digest.of(b"base"), Stored(88_600))
    accepted, _ = await outcomes([blob(nodes, n, 60) for n in range(256)])
    assert accepted == (100_000 - 88_600) // 60
    assert (await projects.usage("team"))[1] == Amount(88_600 + 60 * accepted)
    assert (await accounts.recount("team")).off == Amount()


async def test_artifacts_as_many_as_fit(nodes: list[Catalog]) -> None:
    projects, accounts = await team(nodes, artifacts=20)
    await nodes[0].link_blob("team/app", Digest.of(b"{}"), Stored(2))

    def push(number: int) -> Any:
        new = image(b"{}", annotations={"number": str(number)})
        return nodes[number % len(nodes)].put_manifest("team/app", new, [f"v{number}"])

    accepted, refused = await outcomes([push(n) for n in range(PUSHERS)])
    assert accepted == 20
    assert {e.kind for e in refused} == {"artifacts"}
    assert (await projects.usage("team"))[1].artifacts == 20
    assert len(await nodes[0].tags("team/app", "", 100)) == 20  # a refused push moved no tag
    assert (await accounts.recount("team")).off == Amount()


async def test_the_same_blob_pushed_by_all_at_once_is_charged_once(nodes: list[Catalog]) -> None:
    projects, accounts = await team(nodes, bytes=1000)

    def push(number: int) -> Any:
        name = f"team/app{number % 8}"
        return nodes[number % len(nodes)].link_blob(name, Digest.of(b"same"), Stored(900))

    accepted, _ = await outcomes([push(n) for n in range(PUSHERS)])
    assert accepted == PUSHERS
    assert (await projects.usage("team"))[1] == Amount(900)
    assert (await accounts.recount("team")).off == Amount()


async def test_pushes_and_deletions_at_once_never_pass_the_limit(nodes: list[Catalog]) -> None:
    projects, accounts = await team(nodes, bytes=5000)
    high = 0

    async def churn(worker: int) -> None:
        for number in range(6):
            seed = b"%d" % (worker * 100 + number)
            name = f"team/app{worker % 3}"
            node = nodes[worker % len(nodes)]
            try:
                await node.link_blob(name, Digest.of(seed), Stored(400))
            except QuotaExceeded:
                continue
            await node.unlink_blob(name, Digest.of(seed))

    async def watch() -> None:
        nonlocal high
        while workers:
            high = max(high, (await projects.usage("team"))[1].bytes)
            await accounts.fold()

    async def all_workers() -> None:
        await asyncio.gather(*(churn(n) for n in range(32)))
        workers.clear()

    workers = {"on"}
    await asyncio.gather(all_workers(), watch())
    assert 0 < high <= 5000
    assert (await projects.usage("team"))[1] == Amount()
    assert (await accounts.recount("team")).off == Amount()


async def test_without_a_quota_pushes_take_no_lock_and_read_no_usage(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Projects(catalog.database).create("team", by=SYSTEM)

    def never(*_: object) -> None:
        raise AssertionError("a project without a quota was locked or looked at")

    for name in ("shared", "exclusive", "standing"):
        monkeypatch.setattr(f"argosy.catalog.projects.quotas.{name}", never)
    await catalog.link_blob("team/app", Digest.of(b"{}"), Stored(2))
    await catalog.put_manifest("team/app", image(b"{}"), ["v1"])


async def test_a_lowered_quota_refuses_what_comes_next_and_keeps_what_is_there(
    catalog: Catalog,
) -> None:
    projects, _ = await team([catalog], bytes=1000)
    await catalog.link_blob("team/app", Digest.of(b"a"), Stored(800))
    await projects.update("team", ProjectChange(quota=Quota(bytes=500)), by=SYSTEM)
    with pytest.raises(QuotaExceeded):
        await catalog.link_blob("team/app", Digest.of(b"b"), Stored(1))
    assert await catalog.mount("team/other", Digest.of(b"a"), "team/app")  # costs nothing
    assert await catalog.blob("team/app", Digest.of(b"a")) is not None
    await catalog.unlink_blob("team/app", Digest.of(b"a"))
    await catalog.unlink_blob("team/other", Digest.of(b"a"))
    await catalog.link_blob("team/app", Digest.of(b"b"), Stored(500))


async def test_a_refusal_says_how_much_is_used_and_what_would_free_space(catalog: Catalog) -> None:
    _, accounts = await team([catalog], bytes=10 << 20)
    await catalog.link_blob("team/big", Digest.of(b"a"), Stored(6 << 20))
    await catalog.link_blob("team/small", Digest.of(b"b"), Stored(1 << 20))
    with pytest.raises(QuotaExceeded) as caught:
        await catalog.link_blob("team/app", Digest.of(b"c"), Stored(4 << 20))
    told = await accounts.explained(caught.value)
    assert (told.status, told.registry_code) == (403, "DENIED")
    assert told.summary == (
        "project team uses 7.34MB of its quota of 10.5MB of storage,"
        " and this push needs 4.19MB more"
    )
    assert "team/big 6.29MB, team/small 1.05MB" in told.why
