"""Tags remember where they were, can be put back, and stay where a rule keeps them."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.catalog.actor import SYSTEM, Actor
from argosy.catalog.catalog import Catalog
from argosy.catalog.registry.removing import remove_repository
from argosy.catalog.registry.rows import RepositoryUnknown
from argosy.catalog.tagging import rules as tag_rules
from argosy.catalog.tagging.patterns import PatternInvalid
from argosy.catalog.tagging.rules import TagKept, TagRule, TagRules
from argosy.catalog.tagging.tags import NEWEST, Move, NothingToUndo, Tags
from argosy.errors import NotFound, UsageError
from argosy.model.digest import Digest
from tests.catalog.pushing import NAME, image, push, verify

ADA = Actor(name="ada", kind="user")
BOB = Actor(name="bob", kind="user")
PROJECT = "team"


@pytest.fixture
def tags(catalog: Catalog) -> Tags:
    return Tags(catalog.database)


@pytest.fixture
def rules(catalog: Catalog) -> TagRules:
    return TagRules(catalog.database)


async def standing(catalog: Catalog, tag: str = "v1") -> str | None:
    found = await catalog.manifest(NAME, tag)
    return found and found.digest


async def test_the_history_says_who_moved_a_tag_when_and_from_where(
    catalog: Catalog, tags: Tags
) -> None:
    one, two = await push(catalog, seed=b"1"), await push(catalog, seed=b"2")
    await catalog.tag(NAME, one.digest, "v1", by=ADA)
    await catalog.put_manifest(NAME, two, ["v1", "v2"], by=BOB)
    await catalog.put_manifest(NAME, two, ["v1"], by=ADA)  # no move
    await catalog.delete_manifest(NAME, two.digest, by=ADA)
    moves = await tags.history(NAME, "v1")
    assert [(m.actor, m.previous, m.digest, m.here) for m in moves] == [
        ("ada", two.digest, None, False),
        ("bob", one.digest, two.digest, False),
        ("ada", None, one.digest, True),
    ]
    assert [m.at for m in moves] == sorted((m.at for m in moves), reverse=True)
    assert [m.actor for m in await tags.history(NAME, "v2")] == ["ada", "bob"]


async def test_a_history_is_read_page_by_page(catalog: Catalog, tags: Tags) -> None:
    images = [await push(catalog, seed=f"{n}".encode()) for n in range(2)]
    for n in range(25):
        await catalog.tag(NAME, images[n % 2].digest, "v1")
    whole = await tags.history(NAME, "v1", count=100)
    assert len(whole) == 25
    found: list[Move] = []
    before = NEWEST
    while page := await tags.history(NAME, "v1", before, 10):
        found += page
        before = page[-1].id
    assert found == whole


async def test_what_never_was_has_no_history(catalog: Catalog, tags: Tags) -> None:
    with pytest.raises(RepositoryUnknown):
        await tags.history(NAME, "v1")
    await push(catalog, "v1")
    for ask in (tags.history(NAME, "v2"), tags.get(NAME, "v2"), tags.undo(NAME, "v2", by=ADA)):
        with pytest.raises(NotFound):
            await ask
    assert [(t.name, t.repository) for t in await tags.page(NAME, "", 9)] == [("v1", NAME)]


async def test_undo_puts_a_tag_back_and_undo_again_forth(catalog: Catalog, tags: Tags) -> None:
    one, two = await push(catalog, "v1", seed=b"1"), await push(catalog, "v1", seed=b"2")
    assert await standing(catalog) == two.digest
    assert (await tags.undo(NAME, "v1", by=ADA)).digest == one.digest
    assert await standing(catalog) == one.digest
    assert (await tags.undo(NAME, "v1", by=BOB)).digest == two.digest
    moves = await tags.history(NAME, "v1")
    assert [m.actor for m in moves[:2]] == ["bob", "ada"]
    assert [m.digest for m in moves] == [d.digest for d in (two, one, two, one)]
    assert await verify(catalog) == 4


async def test_undo_brings_a_deleted_tag_back(catalog: Catalog, tags: Tags) -> None:
    new = await push(catalog, "v1")
    await catalog.delete_tag(NAME, "v1")
    assert await standing(catalog) is None
    assert (await tags.undo(NAME, "v1", by=ADA)).digest == new.digest
    assert await standing(catalog) == new.digest
    await verify(catalog)


async def test_undo_goes_back_to_a_chosen_point_of_the_history(
    catalog: Catalog, tags: Tags
) -> None:
    images = [await push(catalog, "v1", seed=f"{n}".encode()) for n in range(4)]
    other = await push(catalog, seed=b"other")
    assert (await tags.undo(NAME, "v1", to=images[0].digest, by=ADA)).digest == images[0].digest
    with pytest.raises(NothingToUndo) as caught:
        await tags.undo(NAME, "v1", to=other.digest, by=ADA)
    assert "never stood" in caught.value.summary


async def test_undo_of_what_is_gone_is_refused_and_says_so(catalog: Catalog, tags: Tags) -> None:
    one = await push(catalog, "v1", seed=b"1")
    with pytest.raises(NothingToUndo) as caught:
        await tags.undo(NAME, "v1", by=ADA)
    assert "made it" in caught.value.why
    two = await push(catalog, "v1", seed=b"2")
    await catalog.delete_manifest(NAME, one.digest)
    with pytest.raises(NothingToUndo) as caught:
        await tags.undo(NAME, "v1", by=ADA)
    assert "deleted" in caught.value.why
    assert one.digest in caught.value.summary
    assert await standing(catalog) == two.digest
    await catalog.delete_manifest(NAME, two.digest)
    with pytest.raises(NothingToUndo):
        await tags.undo(NAME, "v1", by=ADA)


async def test_undo_that_was_overtaken_can_be_refused(catalog: Catalog, tags: Tags) -> None:
    class Overtaken(Exception):
        pass

    await push(catalog, "v1", seed=b"1")
    seen = (await push(catalog, "v1", seed=b"2")).digest
    now = await push(catalog, "v1", seed=b"3")

    def same(standing: str | None) -> None:
        if standing != seen:
            raise Overtaken

    with pytest.raises(Overtaken):
        await tags.undo(NAME, "v1", allow=same, by=ADA)
    assert await standing(catalog) == now.digest


async def test_undos_and_moves_at_once_leave_a_history_without_gaps(
    catalog: Catalog, tags: Tags
) -> None:
    images = [await push(catalog, "v1", seed=f"{n}".encode()) for n in range(8)]
    await asyncio.gather(
        *(catalog.put_manifest(NAME, new, ["v1"]) for new in images),
        *(tags.undo(NAME, "v1", by=ADA) for _ in range(8)),
    )
    assert await verify(catalog) > 8


# Rules


async def test_a_kept_tag_is_neither_moved_nor_deleted_by_any_way(
    catalog: Catalog, tags: Tags, rules: TagRules
) -> None:
    one, two = await push(catalog, "v1", seed=b"1"), await push(catalog, "dev", seed=b"2")
    moved = await push(catalog, "v2", seed=b"3")
    await push(catalog, "v2", seed=b"4")
    rule = await rules.add(PROJECT, tags="v*", by=ADA)
    for attempt in (
        lambda: catalog.put_manifest(NAME, two, ["v1"]),
        lambda: catalog.put_manifest(NAME, two, ["new", "v1"]),
        lambda: catalog.tag(NAME, two.digest, "v1"),
        lambda: catalog.delete_tag(NAME, "v1"),
        lambda: catalog.delete_manifest(NAME, one.digest),
        lambda: tags.undo(NAME, "v2", by=ADA),
    ):
        with pytest.raises(TagKept) as caught:
            await attempt()
        error = caught.value
        assert (error.status, error.registry_code) == (412, "DENIED")
        assert f"rule {rule.id} of project {PROJECT} keeps tags v* in **" in error.why
        assert error.remedy
    assert await standing(catalog) == one.digest
    assert await catalog.manifest(NAME, one.digest) is not None
    assert await standing(catalog, "new") is None
    await catalog.delete_manifest(NAME, moved.digest)  # no tag is on it any more
    await verify(catalog)


async def test_a_rule_lets_through_what_changes_nothing_and_what_is_new(
    catalog: Catalog, tags: Tags, rules: TagRules
) -> None:
    await push(catalog, "dev", seed=b"0")
    await rules.add(PROJECT, tags="v*", by=ADA)
    one, two = await push(catalog, "v1", seed=b"1"), await push(catalog, "v2", seed=b"2")
    await catalog.put_manifest(NAME, one, ["v1"])  # the same again, as retries do
    await catalog.tag(NAME, two.digest, "v2")
    await catalog.put_manifest(NAME, two, ["dev", "v3"])
    await catalog.delete_tag(NAME, "dev")
    await tags.undo(NAME, "dev", by=ADA)  # dev is not kept


async def test_a_rule_is_for_its_repositories_and_its_project_only(
    catalog: Catalog, rules: TagRules
) -> None:
    names = ["team/app", "team/app/sub", "team/other", "rival/app", "app"]
    for name in names:
        await push(catalog, "v1", name=name)
    await rules.add(PROJECT, repositories="app", tags="**", by=ADA)
    await rules.add(PROJECT, repositories="app/*", tags="**", by=ADA)
    await rules.add("app", repositories="app", tags="**", by=ADA)  # it lies in itself
    kept = []
    for name in names:
        try:
            await catalog.delete_tag(name, "v1")
        except TagKept:
            kept.append(name)
    assert kept == ["team/app", "team/app/sub", "app"]


async def test_a_rule_can_be_switched_off_and_on_and_taken_away(
    catalog: Catalog, rules: TagRules
) -> None:
    images = [await push(catalog, "v1", seed=f"{n}".encode()) for n in range(2)]
    rule = await rules.add(PROJECT, tags="v1", by=ADA)
    assert (rule.project, rule.created_by, rule.disabled) == (PROJECT, "ada", False)
    assert await rules.get(PROJECT, rule.id) == rule
    with pytest.raises(TagKept):
        await catalog.tag(NAME, images[0].digest, "v1")
    assert (await rules.change(PROJECT, rule.id, disabled=True, by=BOB)).disabled
    await catalog.tag(NAME, images[0].digest, "v1")
    await rules.change(PROJECT, rule.id, disabled=False, by=BOB)
    with pytest.raises(TagKept):
        await catalog.tag(NAME, images[1].digest, "v1")
    await rules.remove(PROJECT, rule.id, by=BOB)
    await catalog.tag(NAME, images[1].digest, "v1")
    for ask in (
        rules.get(PROJECT, rule.id),
        rules.change(PROJECT, rule.id, disabled=True, by=BOB),
        rules.remove(PROJECT, rule.id, by=BOB),
        rules.page("nowhere", 0, 10),
        rules.add("nowhere", tags="*", by=ADA),
    ):
        with pytest.raises(NotFound):
            await ask


async def test_rules_of_another_project_are_out_of_reach(catalog: Catalog, rules: TagRules) -> None:
    await push(catalog, name="team/app")
    await push(catalog, name="rival/app")
    rule = await rules.add("rival", tags="*", by=ADA)
    with pytest.raises(NotFound):
        await rules.remove(PROJECT, rule.id, by=BOB)
    assert await rules.page(PROJECT, 0, 10) == []
    assert await rules.page("rival", 0, 10) == [rule]


async def test_the_same_rule_twice_is_one_rule(catalog: Catalog, rules: TagRules) -> None:
    await push(catalog)
    made = await asyncio.gather(*(rules.add(PROJECT, tags="v*", by=ADA) for _ in range(5)))
    assert len({rule.id for rule in made}) == 1
    other = await rules.add(PROJECT, tags="w*", by=ADA)
    assert await rules.page(PROJECT, made[0].id, 10) == [other]


async def test_a_project_has_a_bounded_number_of_rules(
    catalog: Catalog, rules: TagRules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tag_rules, "MOST", 3)
    await push(catalog)
    outcomes = await asyncio.gather(
        *(rules.add(PROJECT, tags=f"v{n}", by=ADA) for n in range(6)), return_exceptions=True
    )
    counted = Counter(type(o) for o in outcomes)
    assert counted == {TagRule: 3, UsageError: 3}


@pytest.mark.parametrize("pattern", ["", "a//b", "v**x", "{a", "a}", "a\n"])
async def test_a_pattern_that_cannot_be_read_is_refused(
    catalog: Catalog, rules: TagRules, pattern: str
) -> None:
    await push(catalog)
    with pytest.raises(PatternInvalid):
        await rules.add(PROJECT, tags=pattern, by=ADA)
    with pytest.raises(PatternInvalid):
        await rules.add(PROJECT, tags="*", repositories=pattern, by=ADA)


async def test_a_repository_with_a_kept_tag_is_not_removed(
    catalog: Catalog, rules: TagRules
) -> None:
    await push(catalog, "v1")
    rule = await rules.add(PROJECT, tags="v*", by=ADA)
    with pytest.raises(TagKept):
        await catalog.database.write(lambda c: remove_repository(c, NAME, ADA))
    assert await standing(catalog) is not None
    await rules.change(PROJECT, rule.id, disabled=True, by=ADA)
    assert await catalog.database.write(lambda c: remove_repository(c, NAME, ADA))
    assert await catalog.repositories("", 9) == []
    assert await catalog.manifest(NAME, "v1") is None


@pytest.mark.parametrize("where", ["sqlite"], indirect=True)
async def test_a_repository_with_thousands_of_tags_is_looked_through(
    catalog: Catalog, rules: TagRules
) -> None:
    new = image(b"{}")
    await push(catalog, *(f"t{n:04}" for n in range(2500)))
    await catalog.put_manifest(NAME, new, ["zz"])
    await rules.add(PROJECT, tags="zz", by=ADA)
    key = await catalog.database.read(
        lambda c: c.exec_driver_sql("SELECT id FROM repositories").scalar_one()
    )
    with pytest.raises(TagKept):
        await catalog.database.read(lambda c: tag_rules.refuse_if_any_kept(c, key))
    await rules.remove(PROJECT, 1, by=ADA)
    await rules.add(PROJECT, tags="yy", by=ADA)
    await catalog.database.read(lambda c: tag_rules.refuse_if_any_kept(c, key))


@given(
    st.from_regex(r"[a-z]{1,4}(/[a-z]{1,4}){0,3}", fullmatch=True), st.text("v.-123", min_size=1)
)
def test_a_rule_for_everything_keeps_everything(repository: str, tag: str) -> None:
    def rule(**words: str) -> TagRule:
        return TagRule(id=1, project="p", **{"repositories": "**", "tags": "**", **words})  # type: ignore[arg-type]

    assert rule().keeps(repository, tag)
    below = repository.partition("/")[2] or repository
    assert rule(repositories=below, tags=tag).keeps(repository, tag)
    assert not rule(repositories=below + "x").keeps(repository, tag)
    assert not rule(tags=tag + "x").keeps(repository, tag)


async def test_the_changes_of_rules_and_the_undos_are_in_the_audit_log(
    catalog: Catalog, tags: Tags, rules: TagRules
) -> None:
    await push(catalog, "v1", seed=b"1")
    await push(catalog, "v1", seed=b"2")
    await tags.undo(NAME, "v1", by=ADA)
    rule = await rules.add(PROJECT, tags="v*", by=ADA)
    await rules.change(PROJECT, rule.id, disabled=True, by=BOB)
    await rules.remove(PROJECT, rule.id, by=BOB)
    found = await catalog.database.read(
        lambda c: c.exec_driver_sql(
            "SELECT action, actor, resource FROM audit WHERE actor <> 'argosy' ORDER BY id"
        ).all()
    )
    assert [tuple(row) for row in found] == [
        ("tag.undo", "ada", f"{NAME}:v1"),
        ("tag-rule.create", "ada", PROJECT),
        ("tag-rule.disable", "bob", PROJECT),
        ("tag-rule.delete", "bob", PROJECT),
    ]
    assert SYSTEM.name == "argosy"


async def test_a_digest_that_is_tagged_twice_goes_only_with_both_free(
    catalog: Catalog, rules: TagRules
) -> None:
    new = await push(catalog, "v1", "latest")
    await rules.add(PROJECT, tags="v1", by=ADA)
    with pytest.raises(TagKept):
        await catalog.delete_manifest(NAME, new.digest)
    assert await standing(catalog, "latest") == Digest(new.digest)
    await catalog.delete_tag(NAME, "latest")
    assert await standing(catalog, "v1") == new.digest
