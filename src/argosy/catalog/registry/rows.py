"""The catalog's statements: each function does one thing on an open connection."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    Connection,
    RowMapping,
    Select,
    bindparam,
    delete,
    insert,
    select,
    text,
)

from argosy.catalog import schema as t
from argosy.catalog.actor import Actor
from argosy.catalog.databases.dialects import insert_new, upsert
from argosy.catalog.registry.manifests import Incoming, StoredManifest
from argosy.catalog.tagging.rules import refuse_kept
from argosy.content.blob_storage import Stored
from argosy.errors import NotFound
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.values import frozen

_MANY: Final = 500  # values in one IN clause; databases cap them


class RepositoryUnknown(NotFound):
    """There is no repository of that name."""

    code = "repository-unknown"

    def __init__(self, name: str) -> None:
        super().__init__(f"no repository {name}", evidence={"name": name})


def known(conn: Connection, name: str) -> int:
    """The key of a repository; RepositoryUnknown."""
    if (found := repository(conn, name)) is None:
        raise RepositoryUnknown(name)
    return found


def repository(conn: Connection, name: str) -> int | None:
    """The key of a repository, None if there is none of that name."""
    return conn.execute(select(t.repositories.c.id).where(t.repositories.c.name == name)).scalar()


def project(conn: Connection, repository_id: int) -> int | None:
    """The key of the project a repository is in; None: a node of before there were any made it."""
    r = t.repositories.c
    return conn.execute(select(r.project_id).where(r.id == repository_id)).scalar()


def project_of(repository: str) -> str:
    """The project a repository lies in: the first component of its name."""
    return repository.partition("/")[0]


def link_blob(conn: Connection, repository_id: int, digest: Digest, stored: Stored) -> bool:
    """Let a blob be read through a repository; whether it could not be before."""
    blob = {"digest": digest, "size": stored.size, "key": stored.key, "created_at": t.now()}
    upsert(conn, t.blobs, [blob])
    row = {"repository_id": repository_id, "digest": digest, "linked_at": t.now()}
    if insert_new(conn, t.repository_blobs, row):
        return True
    upsert(conn, t.repository_blobs, [row], update=["linked_at"])
    return False


def unlink_blob(conn: Connection, repository_id: int, digest: Digest) -> bool:
    """Take that away; False if it was not there."""
    links = t.repository_blobs
    gone = conn.execute(
        delete(links).where(links.c.repository_id == repository_id, links.c.digest == digest)
    )
    return gone.rowcount > 0


def blob(conn: Connection, name: str | None, digest: Digest) -> Stored | None:
    """A blob that can be read through the repository (through any, if None)."""
    links, blobs, repos = t.repository_blobs, t.blobs, t.repositories
    found = select(blobs.c.size, blobs.c.key).join(links, links.c.digest == blobs.c.digest)
    found = found.where(blobs.c.digest == digest)
    if name is not None:
        found = found.join(repos, repos.c.id == links.c.repository_id).where(repos.c.name == name)
    row = conn.execute(found.limit(1)).one_or_none()
    return None if row is None else Stored(row.size, row.key)


def manifest(conn: Connection, name: str, ref: str) -> StoredManifest | None:
    """The manifest a tag or digest stands for."""
    m, repos, tags = t.manifests, t.repositories, t.tags
    found = select(m.c.digest, m.c.media_type, m.c.body).join(
        repos, repos.c.id == m.c.repository_id
    )
    if ":" in ref:
        found = found.where(repos.c.name == name, m.c.digest == ref)
    else:
        same = (tags.c.repository_id == m.c.repository_id) & (tags.c.digest == m.c.digest)
        found = found.join(tags, same).where(repos.c.name == name, tags.c.name == ref)
    row = conn.execute(found).one_or_none()
    if row is None:
        return None
    return StoredManifest(
        digest=Digest(row.digest), media_type=row.media_type, body=bytes(row.body)
    )


def standings(
    conn: Connection, tags: Sequence[tuple[str, ...]]
) -> dict[tuple[str, ...], tuple[Digest, str]]:
    """The digests and media types of the manifests that tags of repositories stand for."""
    names = {"repositories": [tag[0] for tag in tags], "tags": [tag[1] for tag in tags]}
    return {
        (row.repository, row.tag): (Digest(row.digest), row.media_type)
        for row in conn.execute(_STANDINGS, names)
    }


# For many nodes only, and so for PostgreSQL: one statement however many are asked for.
_STANDINGS: Final = text("""
SELECT asked.repository, asked.tag, m.digest, m.media_type
FROM unnest(CAST(:repositories AS text[]), CAST(:tags AS text[])) AS asked (repository, tag)
JOIN repositories r ON r.name = asked.repository
JOIN tags t ON t.repository_id = r.id AND t.name = asked.tag
JOIN manifests m ON m.repository_id = t.repository_id AND m.digest = t.digest
""")


def has_manifest(conn: Connection, repository_id: int, digest: Digest) -> bool:
    """Whether the repository has the manifest."""
    return bool(manifest_sizes(conn, repository_id, [digest]))


def missing(
    conn: Connection, repository_id: int, children: Sequence[Descriptor]
) -> tuple[list[Descriptor], list[tuple[Descriptor, int]]]:
    """Which children the repository lacks, and which blobs have another size than they claim."""
    blobs = [c.digest for c in children if not media.is_manifest(c.media_type)]
    sizes = _sizes(conn, _BLOB_SIZES, repository_id, blobs)
    others = [c.digest for c in children if c.digest not in sizes]
    sizes |= manifest_sizes(conn, repository_id, others)
    lacking, wrong = [], []
    for child in children:
        size = sizes.get(child.digest)
        if size is None:
            lacking.append(child)
        elif size != child.size:
            wrong.append((child, size))
    return lacking, wrong


def manifest_sizes(
    conn: Connection, repository_id: int, digests: Sequence[Digest]
) -> dict[str, int]:
    """The sizes of those of the manifests that the repository has."""
    return _sizes(conn, _MANIFEST_SIZES, repository_id, digests)


def _sizes(
    conn: Connection, query: Select[Any], repository_id: int, digests: Sequence[Digest]
) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in _parts(digests, _MANY):
        rows = conn.execute(query, {"repository": repository_id, "digests": part})
        found.update((d, size) for d, size in rows)
    return found


_ASKED: Final[BindParameter[Any]] = bindparam("digests", expanding=True)
_MANIFEST_SIZES: Final[Select[Any]] = select(t.manifests.c.digest, t.manifests.c.size).where(
    t.manifests.c.repository_id == bindparam("repository"), t.manifests.c.digest.in_(_ASKED)
)
# By the links' digests, not the blobs': PostgreSQL does not see that the one says the other, and
# may go through all links of the repository, and for each of them through all blobs.
_BLOB_SIZES: Final[Select[Any]] = (
    select(t.blobs.c.digest, t.blobs.c.size)
    .join(t.repository_blobs, t.repository_blobs.c.digest == t.blobs.c.digest)
    .where(
        t.repository_blobs.c.repository_id == bindparam("repository"),
        t.repository_blobs.c.digest.in_(_ASKED),
    )
)


def _parts(items: Sequence[Digest], size: int) -> Iterator[Sequence[Digest]]:
    return (items[start : start + size] for start in range(0, len(items), size))


@frozen
class Kept:
    """What keeping a manifest came to.

    `new`: it was not here. `retyped`: it was, as another media type (it names none itself);
    the tags on it.
    """

    new: bool
    retyped: list[str] | None = None


def put_manifest(conn: Connection, repository_id: int, new: Incoming) -> Kept:
    """Keep a manifest whose children are known to be here."""
    row = {
        "repository_id": repository_id,
        "digest": new.digest,
        "media_type": new.media_type,
        "size": len(new.body),
        "body": new.body,
        "subject": new.subject,
        "artifact_type": new.artifact_type,
        "annotations": dict(new.annotations),
        "pushed_at": t.now(),
    }
    pairs = {"repository_id": repository_id, "parent": new.digest}
    if insert_new(conn, t.manifests, row):
        upsert(conn, t.manifest_children, [{**pairs, "child": c.digest} for c in new.children])
        return Kept(new=True)
    retyped = _retyped(conn, repository_id, new)
    upsert(conn, t.manifests, [row], update=["media_type", "pushed_at"])
    upsert(conn, t.manifest_children, [{**pairs, "child": c.digest} for c in new.children])
    return Kept(new=False, retyped=retyped)


def _retyped(conn: Connection, repository_id: int, new: Incoming) -> list[str] | None:
    tags, m = t.tags, t.manifests
    before = select(m.c.media_type).where(
        m.c.repository_id == repository_id, m.c.digest == new.digest
    )
    if conn.execute(before).scalar() in (None, new.media_type):
        return None
    on_it = select(tags.c.name).where(
        tags.c.repository_id == repository_id, tags.c.digest == new.digest
    )
    return list(conn.execute(on_it).scalars())


def delete_manifest(conn: Connection, repository_id: int, digest: Digest, by: Actor) -> list[str]:
    """Forget a manifest and every tag on it; the names of those tags. TagKept."""
    tags, m, pairs = t.tags, t.manifests, t.manifest_children
    on_it = select(tags.c.name).where(
        tags.c.repository_id == repository_id, tags.c.digest == digest
    )
    names = list(conn.execute(on_it).scalars())
    if names:  # all at once: there may be thousands, and other writers wait
        refuse_kept(conn, repository_id, names)
        gone: dict[str, Any] = {"repository_id": repository_id, "digest": None, "at": t.now()}
        gone |= {"previous": digest, "actor": by.name}
        conn.execute(insert(t.tag_history), [{**gone, "name": name} for name in names])
        conn.execute(
            delete(tags).where(tags.c.repository_id == repository_id, tags.c.digest == digest)
        )
    conn.execute(
        delete(pairs).where(pairs.c.repository_id == repository_id, pairs.c.parent == digest)
    )
    conn.execute(delete(m).where(m.c.repository_id == repository_id, m.c.digest == digest))
    return names


def parent(conn: Connection, repository_id: int, child: Digest) -> str | None:
    """A manifest that needs `child`, None if there is none."""
    pairs = t.manifest_children
    found = select(pairs.c.parent).where(
        pairs.c.repository_id == repository_id, pairs.c.child == child
    )
    return conn.execute(found.limit(1)).scalar()


def set_tags(
    conn: Connection, repository_id: int, names: Iterable[str], digest: Digest, by: Actor
) -> None:
    """Point tags at a manifest that is here; what moved is written to the history. TagKept."""
    chosen = list(dict.fromkeys(names))
    if not chosen:
        return
    now, before = t.now(), _standing(conn, repository_id, chosen)
    taken = [name for name in chosen if before.get(name, digest) != digest]
    if taken:
        refuse_kept(conn, repository_id, taken)
    key = {"repository_id": repository_id, "digest": digest}
    upsert(
        conn,
        t.tags,
        [{**key, "name": name, "updated_at": now} for name in chosen],
        update=["digest", "updated_at"],
    )
    history = [
        {**key, "name": name, "at": now, "previous": before.get(name), "actor": by.name}
        for name in chosen
        if before.get(name) != digest
    ]
    if history:
        conn.execute(insert(t.tag_history), history)


def _standing(conn: Connection, repository_id: int, names: Sequence[str]) -> dict[str, str]:
    """What those of the tags that are there stand for."""
    tags = t.tags.c
    found = select(tags.name, tags.digest).where(tags.repository_id == repository_id)
    # Nearly always it is one; IN would be written anew each time.
    chosen = tags.name == names[0] if len(names) == 1 else tags.name.in_(names)
    return {row.name: row.digest for row in conn.execute(found.where(chosen))}


def delete_tag(conn: Connection, repository_id: int, name: str, by: Actor) -> bool:
    """Forget a tag, only the tag; False if it was not there. TagKept."""
    tags = t.tags
    if (before := tagged(conn, repository_id, name)) is None:
        return False
    refuse_kept(conn, repository_id, [name])
    conn.execute(delete(tags).where(tags.c.repository_id == repository_id, tags.c.name == name))
    row = {"repository_id": repository_id, "name": name, "digest": None, "at": t.now()}
    conn.execute(insert(t.tag_history).values(**row, previous=before, actor=by.name))
    return True


def tagged(conn: Connection, repository_id: int, name: str) -> str | None:
    """What a tag stands for; None if there is no such tag."""
    tags = t.tags
    found = select(tags.c.digest).where(tags.c.repository_id == repository_id, tags.c.name == name)
    return conn.execute(found).scalar()


def tags_page(conn: Connection, repository_id: int, last: str, count: int) -> list[str]:
    """At most `count` tags after `last`, in the order of their bytes."""
    tags = t.tags
    found = select(tags.c.name).where(tags.c.repository_id == repository_id, tags.c.name > last)
    return list(conn.execute(found.order_by(tags.c.name).limit(count)).scalars())


def repositories_page(conn: Connection, last: str, count: int) -> list[str]:
    """At most `count` repositories after `last`."""
    name = t.repositories.c.name
    return list(conn.execute(select(name).where(name > last).order_by(name).limit(count)).scalars())


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferrersQuery:
    """Which referrers to list: about `subject`, after `last`, at most `count` (+1 to see if more).

    No more are read once there are two and their annotations exceed `most_text`
    characters: so fewer than `count` do not mean that there are no more, none does.
    """

    subject: Digest
    artifact_type: str = ""
    last: str = ""
    count: int = 1000
    most_text: int = 3 << 20


def referrers(
    conn: Connection, repository_id: int, query: ReferrersQuery
) -> tuple[list[Descriptor], bool]:
    """The manifests whose subject it is, by digest; and whether `most_text` cut the list short."""
    m = t.manifests
    found = select(m.c.media_type, m.c.digest, m.c.size, m.c.artifact_type, m.c.annotations).where(
        m.c.repository_id == repository_id,
        m.c.subject == query.subject,
        m.c.digest > query.last,
    )
    if query.artifact_type:
        found = found.where(m.c.artifact_type == query.artifact_type)
    # Row by row, and only so many: each may carry megabytes of annotations.
    text, listed = 0, []
    with conn.execute(found.order_by(m.c.digest).limit(query.count)) as rows:
        for row in rows.mappings():
            listed.append(_referrer(row))
            text += sum(len(key) + len(value) for key, value in row["annotations"].items())
            if text > query.most_text and len(listed) > 1:
                return listed, len(listed) < query.count
    return listed, False


def _referrer(row: RowMapping) -> Descriptor:
    return Descriptor(
        media_type=row["media_type"],
        digest=Digest(row["digest"]),
        size=row["size"],
        artifact_type=row["artifact_type"],
        annotations=row["annotations"],
    )
