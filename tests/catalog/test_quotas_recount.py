"""Whatever is pushed, mounted and deleted: what was charged is what is there."""

import asyncio
import contextlib
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import delete, insert, update

from argosy.catalog import schema as t
from argosy.catalog.actor import SYSTEM
from argosy.catalog.catalog import Catalog, open_catalog
from argosy.catalog.projects.accounts import Accounts
from argosy.catalog.projects.projects import ProjectChange, Projects
from argosy.catalog.projects.quotas import Amount, Quota, QuotaExceeded, size_text
from argosy.catalog.registry.removing import remove_repository
from argosy.cli.terminal.units import human_size
from argosy.content.blob_storage import Stored
from argosy.errors import ArgosyError, NotFound
from argosy.meters import declared as meters
from argosy.model.digest import Digest
from tests.catalog.pushing import image, index

pytestmark = pytest.mark.slow

PROJECTS = ("red", "blue")
REPOSITORIES = ("red/a", "red/b", "red", "blue/a")
SEEDS = (b"{}", b"small", b"x" * 300, b"y" * 800)

repositories = st.sampled_from(REPOSITORIES)
seeds = st.sampled_from(SEEDS)


async def _refused(push: Any) -> QuotaExceeded | None:
    try:
        await push
    except QuotaExceeded as e:
        return e
    return None


class Ledger(RuleBasedStateMachine):
    """Pushes, mounts and deletions in several repositories of two projects, one with a quota."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.opened = open_catalog(str(Path(self.folder.name) / "c.db"))
        self.catalog: Catalog = self.runner.run(self.opened.__aenter__())
        self.accounts = Accounts(self.catalog.database)
        self.projects = Projects(self.catalog.database)
        for name in PROJECTS:
            self.run(self.projects.create(name, by=SYSTEM))
        self.limit(2000, 4)

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def teardown(self) -> None:
        self.runner.run(self.opened.__aexit__(None, None, None))
        self.runner.close()
        self.folder.cleanup()

    def attempt(self, work: Any) -> None:
        with contextlib.suppress(ArgosyError):  # then nothing changed, which the invariant sees
            self.run(work)

    def limit(self, size: int | None, artifacts: int | None) -> None:
        change = ProjectChange(quota=Quota(size, artifacts))
        self.run(self.projects.update("red", change, by=SYSTEM))
        self.quota = Quota(size, artifacts)

    @rule(size=st.none() | st.integers(0, 3000), artifacts=st.none() | st.integers(0, 5))
    def change_the_quota(self, size: int | None, artifacts: int | None) -> None:
        self.limit(size, artifacts)

    @rule(name=repositories, seed=seeds)
    def push_a_blob(self, name: str, seed: bytes) -> None:
        self.attempt(self.catalog.link_blob(name, Digest.of(seed), Stored(len(seed))))

    @rule(name=repositories, seed=seeds, source=st.none() | repositories)
    def mount_a_blob(self, name: str, seed: bytes, source: str | None) -> None:
        self.attempt(self.catalog.mount(name, Digest.of(seed), source))

    @rule(name=repositories, seed=seeds, tag=st.sampled_from(["v1", "v2"]))
    def push_an_image(self, name: str, seed: bytes, tag: str) -> None:
        self.attempt(self.catalog.put_manifest(name, image(seed), [tag]))

    @rule(name=repositories, seed=seeds)
    def push_an_index(self, name: str, seed: bytes) -> None:
        self.attempt(self.catalog.put_manifest(name, index(image(seed))))

    @rule(name=repositories, seed=seeds)
    def delete_a_blob(self, name: str, seed: bytes) -> None:
        self.attempt(self.catalog.unlink_blob(name, Digest.of(seed)))

    @rule(name=repositories, seed=seeds)
    def delete_an_image(self, name: str, seed: bytes) -> None:
        self.attempt(self.catalog.delete_manifest(name, image(seed).digest))

    @rule(name=repositories, seed=seeds)
    def delete_an_index(self, name: str, seed: bytes) -> None:
        self.attempt(self.catalog.delete_manifest(name, index(image(seed)).digest))

    @rule(name=repositories)
    def delete_a_repository(self, name: str) -> None:
        self.run(self.catalog.database.write(lambda conn: remove_repository(conn, name, SYSTEM)))

    @precondition(lambda self: self.quota.limited)
    @rule(name=st.sampled_from(["red/a", "red"]), seed=seeds)
    def push_more_than_fits(self, name: str, seed: bytes) -> None:
        before = self.used("red")
        push = self.catalog.link_blob(name, Digest.of(seed * 9), Stored(len(seed) * 9))
        refused = self.run(_refused(push))
        limit = self.quota.bytes
        if refused is not None:
            assert (refused.used, refused.limit) == (before.bytes, limit)
            assert self.used("red") == before
        else:
            assert limit is None or self.used("red").bytes <= max(limit, before.bytes)

    @rule()
    def fold(self) -> None:
        self.run(self.accounts.fold())

    def used(self, project: str) -> Amount:
        return self.run(self.projects.usage(project))[1]

    @invariant()
    def usage_is_a_recount(self) -> None:
        for project in PROJECTS:
            found = self.run(self.accounts.recount(project))
            assert found.charged == found.counted
            assert found.charged == self.used(project)


TestLedger = Ledger.TestCase
TestLedger.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


async def test_what_is_off_is_found_and_mended(catalog: Catalog) -> None:
    accounts, projects = Accounts(catalog.database), Projects(catalog.database)
    for name, seed in (("red/a", b"one"), ("red/b", b"one"), ("red/b", b"two" * 50)):
        await catalog.link_blob(name, Digest.of(seed), Stored(len(seed)))
    await catalog.put_manifest("red/a", image(b"one"), ["v1"])
    right = (await projects.usage("red"))[1]
    found = await projects.get("red")

    def spoil(conn: Any) -> None:
        b = t.project_blobs
        conn.execute(delete(b).where(b.c.digest == Digest.of(b"two" * 50)))
        conn.execute(update(b).values(links=b.c.links + 3))
        stray = {"project_id": found.id, "digest": "sha256:ff", "size": 7, "links": 1}
        conn.execute(insert(b).values(**stray))
        conn.execute(insert(t.quota_deltas).values(project_id=found.id, bytes=12, artifacts=-3))
        conn.execute(
            update(t.repositories).where(t.repositories.c.name == "red/a").values(project_id=None)
        )

    await catalog.database.write(spoil)
    wrong = await accounts.mend("red", by=SYSTEM)
    assert wrong.off != Amount()
    assert (await projects.usage("red"))[1] == right
    assert (await accounts.recount("red")).off == Amount()
    assert (await accounts.mend("red", by=SYSTEM)).off == Amount()
    for name, seed in (("red/b", b"one"), ("red/b", b"two" * 50)):
        await catalog.unlink_blob(name, Digest.of(seed))
    await catalog.delete_manifest("red/a", image(b"one").digest)
    await catalog.unlink_blob("red/a", Digest.of(b"one"))
    assert (await projects.usage("red"))[1] == Amount()


async def test_a_recount_is_right_in_the_midst_of_pushes(catalog: Catalog) -> None:
    accounts = Accounts(catalog.database)
    await Projects(catalog.database).create("red", by=SYSTEM)

    async def pushes(worker: int) -> None:
        for number in range(12):
            seed = b"%d" % (number % 5)
            name = f"red/{worker}"
            await catalog.link_blob(name, Digest.of(seed), Stored(len(seed)))
            await catalog.put_manifest(name, image(seed), ["v"])
            if number % 3 == 2:
                await catalog.delete_manifest(name, image(seed).digest)
                await catalog.unlink_blob(name, Digest.of(seed))

    async def recounts() -> None:
        for _ in range(15):
            assert (await accounts.recount("red")).off == Amount()
            await accounts.fold()

    await asyncio.gather(*(pushes(n) for n in range(6)), recounts())
    assert (await accounts.recount("red")).off == Amount()


async def test_mended_by_several_at_once_it_is_mended_once(nodes: list[Catalog]) -> None:
    await nodes[0].link_blob("red/a", Digest.of(b"one"), Stored(3))
    red = (await Projects(nodes[0].database).get("red")).id
    stray = insert(t.quota_deltas).values(project_id=red, bytes=500, artifacts=3)
    await nodes[0].database.write(lambda conn: conn.execute(stray) and None)
    books = [Accounts(node.database) for node in nodes]
    await asyncio.gather(*(books[n % 2].mend("red", by=SYSTEM) for n in range(6)))
    assert (await books[0].recount("red")).off == Amount()
    assert (await Projects(nodes[0].database).usage("red"))[1] == Amount(3)


async def test_links_and_deletions_of_the_same_at_once_keep_the_books_right(
    nodes: list[Catalog],
) -> None:
    choice, accounts = random.Random(7), Accounts(nodes[0].database)

    def act(number: int) -> Any:
        catalog, name = nodes[number % 2], choice.choice(["red/a", "red/b"])
        digest, what = Digest.of(choice.choice(SEEDS)), choice.randrange(5)
        if what == 0:
            return catalog.mount(name, digest, None)
        if what == 1:
            return catalog.unlink_blob(name, digest)
        if what == 2:
            return catalog.database.write(lambda conn: remove_repository(conn, name, SYSTEM))
        return catalog.link_blob(name, digest, Stored(100))

    await Projects(nodes[0].database).create("red", by=SYSTEM)
    for _ in range(25):
        done = await asyncio.gather(*(act(n) for n in range(12)), return_exceptions=True)
        assert all(not isinstance(e, BaseException) or isinstance(e, NotFound) for e in done), done
        assert (await accounts.recount("red")).off == Amount()


async def test_folding_changes_no_usage_and_leaves_nothing_behind(catalog: Catalog) -> None:
    accounts, projects = Accounts(catalog.database), Projects(catalog.database)
    for number in range(20):
        seed = b"%d" % number
        await catalog.link_blob(f"p{number % 3}/app", Digest.of(seed), Stored(len(seed)))
    before = [await projects.usage(f"p{n}") for n in range(3)]
    await asyncio.gather(*(accounts.fold() for _ in range(4)))
    assert [await projects.usage(f"p{n}") for n in range(3)] == before

    def left(conn: Any) -> int:
        return len(conn.execute(t.quota_deltas.select()).all())

    assert await catalog.database.read(left) == 0


async def test_the_usage_of_many_is_read_at_once_folded_or_not(catalog: Catalog) -> None:
    accounts, projects = Accounts(catalog.database), Projects(catalog.database)
    for number in range(20):
        seed = b"%d" % number
        await catalog.link_blob(f"p{number % 3}/app", Digest.of(seed), Stored(len(seed)))
        if number == 10:
            await accounts.fold()
    await projects.create("p3", by=SYSTEM)
    each = [await projects.usage(f"p{n}") for n in range(4)]
    found = [project for project, _ in each]
    await projects.delete("p0", by=SYSTEM, force=True)  # while others read the list
    assert await projects.usages(found) == {
        project.id: Amount() if project.name == "p0" else used for project, used in each
    }
    assert await projects.usages([]) == {}


async def test_what_projects_use_is_told_of_no_project_that_is_gone(catalog: Catalog) -> None:
    accounts, projects = Accounts(catalog.database), Projects(catalog.database)
    told = set()
    for name in ("stays", "goes"):
        await catalog.link_blob(f"{name}/app", Digest.of(b"1"), Stored(1))
        told.add((name,))
    await accounts.fold()
    await accounts._show()
    assert told == meters.PROJECT_BYTES.read().keys() == meters.PROJECT_QUOTA.read().keys()
    await projects.delete("goes", by=SYSTEM, force=True)
    await accounts._show()
    assert [("stays",)] == [*meters.PROJECT_BYTES.read()] == [*meters.PROJECT_QUOTA.read()]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (1536, "1.54kB"),
        (10 * 10**9, "10GB"),
        (999_999, "1MB"),
        (5 << 30, "5.37GB"),
        (1 << 60, "1.15EB"),  # the largest quota there may be
    ],
)
def test_sizes_are_shown_as_people_read_them(size: int, text: str) -> None:
    assert size_text(size) == text == human_size(size)  # a refusal, and `argosy quota show`
