"""Whatever many writers do at once, on however many nodes: tags stand, histories tell the truth."""

import asyncio
import random
from collections import Counter
from contextlib import suppress

import pytest
from sqlalchemy import func, select

from argosy.catalog import schema as t
from argosy.catalog.catalog import Catalog
from argosy.content.blob_storage import Stored
from argosy.errors import ArgosyError, NotFound, RegistryError
from argosy.model.digest import Digest
from tests.catalog.pushing import NAME, image, index, push, verify

Nodes = list[Catalog]


class Moved(Exception):
    """The tag does not stand for what the mover saw."""


async def test_compare_and_set_lets_exactly_one_of_64_movers_win_each_time(nodes: Nodes) -> None:
    images = [await push(nodes[0], seed=f"{n}".encode()) for n in range(64)]
    await nodes[0].tag(NAME, images[0].digest, "v1")
    outcomes: Counter[str] = Counter()

    async def move(number: int) -> None:
        catalog = nodes[number % len(nodes)]
        for _ in range(3):
            seen = await catalog.manifest(NAME, "v1")
            assert seen is not None

            def unmoved(standing: str | None, seen: str = seen.digest) -> None:
                if standing != seen:
                    raise Moved

            try:
                await catalog.put_manifest(NAME, images[number], ["v1"], allow=unmoved)
            except Moved:
                outcomes["moved"] += 1
            else:
                outcomes["won" if seen.digest != images[number].digest else "same"] += 1

    await asyncio.gather(*(move(n) for n in range(64)))
    assert outcomes["won"], outcomes
    assert outcomes["moved"], outcomes
    assert await verify(nodes[0]) == 1 + outcomes["won"]


async def test_the_history_of_a_tag_is_in_the_order_of_its_moves(nodes: Nodes) -> None:
    images = [await push(nodes[0], seed=f"{n}".encode()) for n in range(24)]
    await asyncio.gather(
        *(nodes[n % 2].put_manifest(NAME, new, ["a", "b"]) for n, new in enumerate(images)),
        *(nodes[n % 2].put_manifest(NAME, new, ["b", "a"]) for n, new in enumerate(images)),
    )
    assert await verify(nodes[0]) >= 2 * 24


async def test_a_blob_cannot_be_taken_away_from_a_manifest_that_is_being_pushed(
    nodes: Nodes,
) -> None:
    for round_ in range(25):
        seed = f"blob {round_}".encode()
        await nodes[0].link_blob(NAME, Digest.of(seed), Stored(len(seed)))
        pushed, unlinked = await asyncio.gather(
            nodes[0].put_manifest(NAME, image(seed), ["v1"]),
            nodes[1].unlink_blob(NAME, Digest.of(seed)),
            return_exceptions=True,
        )
        assert (pushed is None) != (unlinked is None), (pushed, unlinked)
        for refused in (pushed, unlinked):
            assert refused is None or isinstance(refused, RegistryError)
    await verify(nodes[0])


async def test_a_manifest_cannot_be_taken_away_from_a_tag_or_an_index_on_its_way(
    nodes: Nodes,
) -> None:
    for round_ in range(25):
        child = await push(nodes[0], seed=f"child {round_}".encode())
        outcomes = await asyncio.gather(
            nodes[0].put_manifest(NAME, index(child), ["index"]),
            nodes[0].tag(NAME, child.digest, "plain"),
            nodes[1].delete_manifest(NAME, child.digest),
            return_exceptions=True,
        )
        assert all(o is None or isinstance(o, RegistryError | NotFound) for o in outcomes), outcomes
        assert outcomes[0] is None or outcomes[2] is None, outcomes
    await verify(nodes[0])


async def test_64_first_pushes_make_one_repository_and_one_project(nodes: Nodes) -> None:
    await asyncio.gather(
        *(push(nodes[n % 2], f"v{n}", seed=f"{n}".encode(), name="new/app") for n in range(64))
    )
    assert await nodes[0].repositories("", 10) == ["new/app"]
    assert len(await nodes[1].tags("new/app", "", 100)) == 64
    made = await nodes[0].database.read(
        lambda conn: conn.execute(select(func.count()).select_from(t.projects)).scalar()
    )
    assert made == 1


@pytest.mark.parametrize("seed", range(3))
async def test_a_storm_of_pushes_moves_and_deletions_leaves_a_sound_catalog(
    nodes: Nodes, seed: int
) -> None:
    choice = random.Random(seed)
    pool = [image(f"{n}".encode()) for n in range(6)]
    tags = [f"t{n}" for n in range(4)]

    async def act(catalog: Catalog, what: int, one: int, two: int) -> None:
        name, blob = NAME if two % 2 else "team/other", f"{one}".encode()
        actions = [
            lambda: catalog.link_blob(name, Digest.of(blob), Stored(len(blob))),
            lambda: catalog.put_manifest(name, pool[one], [tags[two], tags[one % 4]]),
            lambda: catalog.put_manifest(name, pool[one], [tags[one % 4], tags[two]]),
            lambda: catalog.put_manifest(name, index(pool[one], pool[two]), [tags[two]]),
            lambda: catalog.tag(name, pool[one].digest, tags[two]),
            lambda: catalog.delete_tag(name, tags[two]),
            lambda: catalog.delete_manifest(name, pool[one].digest),
            lambda: catalog.delete_manifest(name, index(pool[one], pool[two]).digest),
            lambda: catalog.unlink_blob(name, Digest.of(blob)),
            lambda: catalog.mount(name, Digest.of(blob), None),
        ]
        with suppress(NotFound, RegistryError):
            await actions[what]()

    async def worker(number: int) -> None:
        for what, one, two in plans[number]:
            await act(nodes[number % 2], what, one, two)

    weights = [6, 6, 6, 3, 4, 2, 1, 2, 1, 2]
    plans = [
        [
            (choice.choices(range(10), weights)[0], choice.randrange(6), choice.randrange(4))
            for _ in range(20)
        ]
        for _ in range(10)
    ]
    await asyncio.gather(*(worker(n) for n in range(10)))
    assert await verify(nodes[0]) > 0


async def test_what_is_acknowledged_by_one_node_is_what_the_other_serves(nodes: Nodes) -> None:
    images = [await push(nodes[0], seed=f"{n}".encode()) for n in range(2)]
    for move in range(50):
        new, catalog = images[move % 2], nodes[move % 2]
        await catalog.put_manifest(NAME, new, ["v1"])
        found = await nodes[1 - move % 2].manifest(NAME, "v1")
        assert found is not None
        assert found.digest == new.digest
    await nodes[0].delete_tag(NAME, "v1")
    assert await nodes[1].manifest(NAME, "v1") is None


async def test_who_gives_up_waiting_leaves_no_old_value_behind(nodes: Nodes) -> None:
    first, second = await push(nodes[0], "v1", seed=b"1"), await push(nodes[0], seed=b"2")
    for move in range(20):
        new = (second, first)[move % 2]
        await nodes[0].manifest(NAME, "v1")
        writing = asyncio.ensure_future(nodes[0].tag(NAME, new.digest, "v1"))
        await asyncio.sleep(0.0005 * (move % 5))
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing
        await nodes[0].tag(NAME, new.digest, f"after-{move}")  # the write before it is over
        served = await nodes[0].manifest(NAME, "v1")
        kept = await nodes[0].database.read(_standing)
        assert served is not None
        assert served.digest == kept


def _standing(conn: object) -> str:
    found = conn.execute(select(t.tags.c.digest).where(t.tags.c.name == "v1"))  # type: ignore[attr-defined]
    return str(found.scalar())


async def test_an_error_of_a_write_undoes_it_wholly(catalog: Catalog) -> None:
    def refuse(standing: str | None) -> None:
        raise ArgosyError("on purpose")

    await push(catalog, seed=b"1")
    with pytest.raises(ArgosyError):
        await catalog.put_manifest("other/app", image(b"1"), ["v1"], allow=refuse)
    assert await catalog.repositories("", 10) == [NAME]
