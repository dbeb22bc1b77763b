"""The manifests endpoint: pull, push, delete (distribution-spec, end-3, end-7, end-9).

A pull by tag that memory can answer makes no thread hop, no SQL and no header:
the answer is kept beside the manifest and forgotten with it.
"""

from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary

from argosy.catalog.catalog import Catalog
from argosy.catalog.hosted import HostedRepository
from argosy.catalog.registry.manifests import Incoming, StoredManifest
from argosy.concurrency import in_thread
from argosy.content.blob_storage import BlobStorage
from argosy.errors import NotFound
from argosy.model.digest import Digest
from argosy.model.manifest import MAX_MANIFEST
from argosy.model.reference import is_tag
from argosy.server.guarding.who import actor
from argosy.server.http.messages import Request, Response
from argosy.server.v2.conditions import CONDITIONAL, allows, matches, not_modified
from argosy.server.v2.errors import VERSION, Problem
from argosy.server.v2.gates import OPEN, Gates

MOST_TAGS: Final = 64
"""Tags one push may set: each is a header of the answer, and some clients read 100 headers at most."""

_THREAD_FROM: Final = 64 << 10  # a longer manifest is parsed off the loop


class Manifests:
    """Answers for manifests out of a catalog."""

    def __init__(self, catalog: Catalog, storage: BlobStorage, gates: Gates = OPEN) -> None:
        self._catalog = catalog
        self._storage = storage
        self._gates = gates
        self._answers: WeakKeyDictionary[StoredManifest, Response] = WeakKeyDictionary()

    def at_hand(self, name: str, ref: str, request: Request) -> Response | None:
        """The answer to GET or HEAD if memory has it, and no gate has to be asked."""
        if self._gates:
            return None
        held = self._catalog.at_hand(name, ref)
        return None if held is None else self._answer(held, request)

    async def get(self, name: str, ref: str, request: Request) -> Response:
        """GET and HEAD: the bytes as pushed, under the type they were pushed with."""
        if ":" in ref:
            Digest.parse(ref)
        held = await self._catalog.manifest(name, ref)
        if held is None:
            raise NotFound(f"no manifest {ref!r} in {name}", evidence={"name": name, "ref": ref})
        if self._gates:
            await self._gates.check(held.descriptor, self._repository(name), "pull")
        return self._answer(held, request)

    async def put(self, name: str, ref: str, request: Request) -> Response:
        """PUT: accepted only with everything it refers to; a missing subject is fine."""
        digest, tags = _named(ref)
        more = _more_tags(request)
        body = await request.body.read(MAX_MANIFEST)
        kind = (request.headers.get("content-type") or "").partition(";")[0].strip()
        if len(body) < _THREAD_FROM:
            new = Incoming.parse(body, kind, digest)
        else:
            new = await in_thread(Incoming.parse, body, kind, digest)
        allow = _conditions(request, ref) if tags else None
        if self._gates:
            await self._gates.check(new.descriptor, self._repository(name), "push")
        await self._catalog.put_manifest(name, new, [*tags, *more], allow=allow, by=actor(request))
        headers = [
            VERSION,
            *([CONDITIONAL] if allow else []),
            ("Location", f"/v2/{name}/manifests/{new.digest}"),
            ("Docker-Content-Digest", new.digest),
            *(("OCI-Tag", tag) for tag in more),
        ]
        if new.subject is not None:
            headers.append(("OCI-Subject", new.subject))
        return Response(201, headers)

    async def delete(self, name: str, ref: str, request: Request) -> Response:
        """DELETE: a tag and only it, or by digest the manifest with all its tags."""
        allow = _conditions(request, ref)
        if ":" in ref:
            digest = Digest.parse(ref)
            if allow is not None:
                allow(digest)  # what is there by that name is never anything else
            await self._catalog.delete_manifest(name, digest, by=actor(request))
        elif allow is None:
            await self._catalog.delete_tag(name, ref, by=actor(request))
        else:
            await self._catalog.delete_tag(name, ref, allow=allow, by=actor(request))
        return Response(202, [VERSION, *([CONDITIONAL] if allow else [])])

    def _repository(self, name: str) -> HostedRepository:
        return HostedRepository(self._catalog, self._storage, name)

    def _answer(self, held: StoredManifest, request: Request) -> Response:
        if matches(request, held.digest):
            return not_modified(held.digest)
        found = self._answers.get(held)
        if found is None:
            found = self._answers[held] = Response(
                200,
                (
                    VERSION,
                    ("Content-Type", held.media_type),
                    ("Docker-Content-Digest", held.digest),
                    ("ETag", f'"{held.digest}"'),
                ),
                held.body,
            )
        return found


def _conditions(request: Request, ref: str) -> Callable[[str | None], None] | None:
    """What raises unless the tag stands for what the client wants it to (If-Match, If-None-Match)."""
    if all(request.headers.get(name) is None for name in ("if-match", "if-none-match")):
        return None

    def check(standing: str | None) -> None:
        if not allows(request, standing):
            words = (
                f"{ref} is not what the request asks for"
                if ":" in ref
                else f"tag {ref} stands for something else"
            )
            raise Problem(412, "DENIED", words, detail={"digest": standing})

    return check


def _named(ref: str) -> tuple[Digest | None, list[str]]:
    if ":" in ref:
        return Digest.parse(ref), []
    if not is_tag(ref):
        raise _bad_tag(ref)
    return None, [ref]


def _more_tags(request: Request) -> list[str]:
    tags = list(dict.fromkeys(request.query.get("tag", ())))
    if len(tags) > MOST_TAGS:
        raise Problem(414, "UNSUPPORTED", f"one push may set at most {MOST_TAGS} tags")
    if (bad := next((tag for tag in tags if not is_tag(tag)), None)) is not None:
        raise _bad_tag(bad)
    return tags


def _bad_tag(tag: str) -> Problem:
    return Problem(
        400,
        "MANIFEST_INVALID",
        f"{tag[:200]!r} is not a tag (at most 128 of A-Za-z0-9_.-, not . or - first)",
        detail={"tag": tag[:200]},
    )
