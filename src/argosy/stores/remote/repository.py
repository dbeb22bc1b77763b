"""One repository of a remote registry as a Store.

Source: distribution-spec (Pull, Push, Content Discovery, Content Management).
"""

import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from argosy.content.store import Body, Source, Swapped
from argosy.content.verify import verified
from argosy.errors import (
    DigestMismatch,
    InvalidDigest,
    NetworkError,
    NotFound,
    RegistryError,
    SizeMismatch,
)
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.manifest import MAX_MANIFEST
from argosy.model.reference import Reference
from argosy.stores.remote.auth import repository_scope
from argosy.stores.remote.errors import Asked, refusal
from argosy.stores.remote.exchange import Exchange
from argosy.stores.remote.links import names, pages
from argosy.stores.remote.referrers import Subjects
from argosy.stores.remote.retry import wait
from argosy.stores.remote.transport import Answer, Request
from argosy.stores.remote.upload import Upload
from argosy.stores.remote.ways import Ways

_ACCEPT = {"Accept": ", ".join(media.ACCEPT)}
_LARGEST = 4 * MAX_MANIFEST
_PAGE = 1000  # names asked for at once; what most registries cap at
_REMEMBERED = 64  # manifests kept in memory
_PRECONDITION_FAILED = 412
CONDITIONAL = "argosy-conditional"  # header of a registry that looked at a PUT's condition
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-")


class RemoteRepository:
    """A repository in a registry: Source, Store, Mounts, Referrers, ListsTags, Deletes.

    Reading uses the registry's mirrors, if it has any; everything else only the
    registry itself.
    """

    def __init__(self, reference: Reference, ways: Ways) -> None:
        self.reference = reference
        self.name = reference.repository
        self.locator = reference.locator
        self._ways = ways
        self._pull = (repository_scope(self.name, "pull"),)
        self._push = (repository_scope(self.name, "pull", "push"),)
        self._delete = (repository_scope(self.name, "pull", "push", "delete"),)
        self._manifests: OrderedDict[Digest, bytes] = OrderedDict()
        self._open_uploads: dict[Digest, str] = {}
        self._mounts_anonymously = True
        self._subjects = Subjects(self, ways, self.name, self._put_manifest)

    async def resolve(self, ref: str) -> Descriptor:
        """The manifest a tag or digest stands for, by HEAD; by GET where HEAD tells too little."""
        what = f"pull manifest {ref} of {self.locator}"
        return await self._ways.first(
            lambda way: self._resolve_at(way, ref, what), resolve=":" not in ref
        )

    async def resolve_here(self, ref: str) -> Descriptor:
        """As `resolve`, but never answered by a mirror: a stale one must not stop a push."""
        what = f"pull manifest {ref} of {self.locator}"
        return await self._resolve_at(await self._ways.home(), ref, what)

    async def _resolve_at(self, way: Exchange, ref: str, what: str) -> Descriptor:
        url = await way.url(f"{self.name}/manifests/{ref}")
        answer = await way.send(Request(method="HEAD", url=url, headers=_ACCEPT), self._pull)
        await answer.close()
        digest = _digest_header(answer, ref)
        kind = answer.headers.get("content-type", "").partition(";")[0].strip()
        length = answer.headers.get("content-length", "")
        if answer.status == 200 and digest and length.isdigit() and media.is_manifest(kind):
            return Descriptor(media_type=kind, digest=digest, size=int(length))
        if answer.status == 404:
            raise await refusal(answer, Asked(what=what))
        # Any other refusal of a HEAD carries no words, and some registries answer it half-heartedly.
        return await self._fetch(way, ref, what)

    async def _fetch(self, way: Exchange, ref: str, what: str) -> Descriptor:
        """GET a manifest, remember its bytes; its descriptor."""
        url = await way.url(f"{self.name}/manifests/{ref}")
        answer = await way.ask(Request(method="GET", url=url, headers=_ACCEPT), what, self._pull)
        body = await answer.read(_LARGEST + 1)
        if len(body) > _LARGEST:
            raise RegistryError(
                f"cannot {what}: it is larger than {_LARGEST} bytes",
                remedy="this is not an image manifest: check the reference",
            )
        wanted = _digest_header(answer, ref)
        digest = Digest.of(body, wanted.algorithm if wanted else "sha256")
        if wanted and wanted != digest:
            raise DigestMismatch(
                f"manifest {ref} of {self.locator}", expected=wanted, actual=digest
            )
        kind = answer.headers.get("content-type", "").partition(";")[0].strip()
        self._remember(digest, body)
        return Descriptor(media_type=kind or media.OCI_MANIFEST, digest=digest, size=len(body))

    async def exists(self, desc: Descriptor) -> bool:
        """Whether the registry itself has the bytes (not a mirror of it)."""
        kind = "manifests" if media.is_manifest(desc.media_type) else "blobs"
        home = await self._ways.home()
        url = await home.url(f"{self.name}/{kind}/{desc.digest}")
        headers = _ACCEPT if kind == "manifests" else {}
        request = Request(method="HEAD", url=url, headers=headers)
        what = f"look for {desc.digest} in {self.locator}"
        answer = await home.ask(request, what, self._pull, (200, 404))
        await answer.close()
        return answer.status == 200

    @asynccontextmanager
    async def open(
        self, desc: Descriptor, *, start: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes from `start`; a broken connection is taken up again where it broke."""
        if media.is_manifest(desc.media_type):
            yield _piece((await self._manifest(desc))[start:])
            return
        reading = _Reading(self, self._ways, desc, start)
        try:
            await reading.begin()
            yield reading.pieces()
        finally:
            await reading.close()

    async def _manifest(self, desc: Descriptor) -> bytes:
        if (known := self._manifests.get(desc.digest)) is not None:
            return known
        what = f"pull manifest {desc.digest} of {self.locator}"

        async def fetched(way: Exchange) -> bytes:
            await self._fetch(way, desc.digest, what)
            return self._manifests[desc.digest]

        return await self._ways.first(fetched)

    async def open_blob(self, digest: Digest, start: int) -> Answer:
        """The answer to a GET of a blob from an offset, from the first way that has it."""
        what = f"pull blob {digest} of {self.locator}"
        headers = {"Range": f"bytes={start}-"} if start else {}

        async def asked(way: Exchange) -> Answer:
            url = await way.url(f"{self.name}/blobs/{digest}")
            request = Request(method="GET", url=url, headers=headers)
            return await way.ask(request, what, self._pull, (200, 206))

        return await self._ways.first(asked)

    async def put(self, desc: Descriptor, body: Body) -> None:
        """Keep the bytes; atomic at the registry, verified here and there."""
        if media.is_manifest(desc.media_type):
            data = b"".join([bytes(piece) async for piece in verified(desc, body)])
            answer = await self._put_manifest(desc, data, desc.digest)
            await self._subjects.noted(desc, data, answer)
            return
        location = self._open_uploads.pop(desc.digest, "")
        await Upload(await self._ways.home(), self.name, desc, self._push).run(body, location)

    async def rehearse_push(self) -> None:
        """Raise what a push would meet before its first byte; nothing stays at the registry."""
        nothing = Descriptor.of("application/octet-stream", b"")
        await Upload(await self._ways.home(), self.name, nothing, self._push).rehearse()

    async def _put_manifest(
        self, desc: Descriptor, data: bytes, ref: str, more: Mapping[str, str] | None = None
    ) -> Answer:
        home = await self._ways.home()
        url = await home.url(f"{self.name}/manifests/{ref}")
        headers = {"Content-Type": desc.media_type, **(more or {})}
        request = Request(method="PUT", url=url, headers=headers, body=data)
        what = f"push manifest {ref} to {self.locator}"
        answer = await home.ask(request, what, self._push, (200, 201, 202))
        await answer.read()
        told = answer.headers.get("docker-content-digest")
        if told and told.partition(":")[0] == desc.digest.algorithm and told != desc.digest:
            raise DigestMismatch(what, expected=desc.digest, actual=told)
        self._remember(desc.digest, data)
        return answer

    async def tag(self, desc: Descriptor, ref: str) -> None:
        """Point a tag at a manifest that is here."""
        data = await self._manifest(desc)
        await self._put_manifest(desc, data, ref)

    async def swap(self, desc: Descriptor, ref: str, expected: Digest | None) -> Swapped:
        """Point a tag at a manifest by a conditional PUT (RFC 9110 §13.1); few registries look at it."""
        data = await self._manifest(desc)
        condition = {"If-Match": f'"{expected}"'} if expected else {"If-None-Match": "*"}
        try:
            answer = await self._put_manifest(desc, data, ref, condition)
        except RegistryError as e:
            if e.status == _PRECONDITION_FAILED:
                return "changed"
            raise
        return "done" if CONDITIONAL in answer.headers else "unsure"

    async def mount(self, desc: Descriptor, source: Source) -> bool:
        """Take a blob from a sibling repository, or from wherever the registry has it; False if it will not.

        Without a sibling the mount is anonymous (no `from`): who cannot do that opens an
        upload all the same, which `put` then uses, so that asking costs nothing.
        """
        sibling = _sibling(self, source)
        if source is self or sibling == self.name or not (sibling or self._mounts_anonymously):
            return False
        home = await self._ways.home()
        query = f"mount={desc.digest}" + (f"&from={sibling}" if sibling else "")
        request = Request(method="POST", url=await home.url(f"{self.name}/blobs/uploads/?{query}"))
        scopes: tuple[str, ...] = self._push
        if sibling and isinstance(source, RemoteRepository):
            scopes = (*scopes, *source._pull)  # noqa: SLF001 - one class
        try:
            answer = await home.ask(request, f"mount {desc.digest}", scopes, (201, 202))
        except (RegistryError, NotFound):
            if not sibling:
                self._mounts_anonymously = False
            return False  # it is only a short cut: the bytes go the long way
        await answer.read()
        if answer.status == 201:
            return True
        if answer.headers.get("location") and desc.digest.algorithm == "sha256":
            self._open_uploads[desc.digest] = home.location(answer, "")
        return False

    async def referrers(self, digest: Digest, artifact_type: str = "") -> Sequence[Descriptor]:
        """The manifests about `digest`, from the referrers API or else its fallback tag."""
        return await self._subjects.of(digest, artifact_type)

    async def tags(self) -> AsyncIterator[str]:
        """Every tag, in the registry's order (by the spec: lexical)."""
        what = f"list the tags of {self.locator}"
        path = f"{self.name}/tags/list?n={_PAGE}"
        async for _answer, value in pages(await self._ways.home(), path, what, self._pull, {}):
            for name in names(value, "tags"):
                yield name

    async def delete(self, ref: str) -> None:
        """Forget a tag (only the tag) or a manifest by digest."""
        home = await self._ways.home()
        if ":" in ref:
            with suppress(NotFound, RegistryError):
                gone = await self._resolve_at(home, ref, f"look for {ref}")
                await self._subjects.forgotten(gone)
        url = await home.url(f"{self.name}/manifests/{ref}")
        what = f"delete {ref} of {self.locator}"
        request = Request(method="DELETE", url=url)
        try:
            answer = await home.ask(request, what, self._delete, (200, 202, 204))
        except RegistryError as e:
            raise _no_tag_delete(e) if ":" not in ref else e from e
        await answer.read()
        if ":" in ref:
            self._manifests.pop(Digest(ref), None)

    async def delete_blob(self, digest: Digest) -> None:
        """Take a blob out of this repository."""
        home = await self._ways.home()
        url = await home.url(f"{self.name}/blobs/{digest}")
        what = f"delete blob {digest} of {self.locator}"
        answer = await home.ask(
            Request(method="DELETE", url=url), what, self._delete, (200, 202, 204)
        )
        await answer.read()

    def _remember(self, digest: Digest, body: bytes) -> None:
        self._manifests[digest] = body
        self._manifests.move_to_end(digest)
        while len(self._manifests) > _REMEMBERED:
            self._manifests.popitem(last=False)


class _Reading:
    """A blob being read: opens it anew by Range when the connection breaks."""

    def __init__(
        self, repository: RemoteRepository, ways: Ways, desc: Descriptor, start: int
    ) -> None:
        self._repository = repository
        self._ways = ways
        self._desc = desc
        self._done = start
        self._answer: Answer | None = None
        self._skip = 0

    async def begin(self) -> None:
        """Ask for the rest of the blob; NotFound if there is no such blob."""
        if self._done and self._done >= self._desc.size:
            return  # a Range behind the end would be an error
        answer = await self._repository.open_blob(self._desc.digest, self._done)
        self._answer = answer
        length = answer.headers.get("content-length", "")
        if answer.status == 206:
            match = _CONTENT_RANGE.match(answer.headers.get("content-range", ""))
            begins = int(match[1]) if match else -1
            if not 0 <= begins <= self._done:
                raise RegistryError(
                    f"cannot resume blob {self._desc.digest}: the registry sent another range",
                    status=206,
                    remedy="try again; a cache in front of the registry may be at fault",
                )
            self._skip = self._done - begins
        else:
            self._skip = self._done
            if length.isdigit() and int(length) != self._desc.size:
                raise SizeMismatch(
                    str(self._desc.digest), expected=self._desc.size, actual=int(length)
                )

    async def pieces(self) -> AsyncIterator[bytes]:
        """The pieces, over as many connections as it takes."""
        attempt = 0
        while self._answer is not None:
            before = self._done
            try:
                async for piece in self._answer.pieces():
                    rest = piece[self._skip :] if self._skip else piece
                    self._skip -= len(piece) - len(rest)
                    if rest:
                        self._done += len(rest)
                        yield rest
                return  # noqa: TRY300 - the whole loop is what is tried
            except NetworkError as e:
                attempt = 0 if self._done > before else attempt
                await self._pause(e, attempt)
            attempt += 1
            await self.close()
            await self.begin()

    async def _pause(self, e: NetworkError, attempt: int) -> None:
        way = await self._ways.home()
        seconds = wait(attempt, None, way.settings)
        if seconds is None:
            raise e
        await way.pause(seconds, self._desc.digest, e.summary)

    async def close(self) -> None:
        """Give the connection back."""
        if self._answer is not None:
            answer, self._answer = self._answer, None
            await answer.close()


def _digest_header(answer: Answer, ref: str) -> Digest | None:
    """The digest asked for, else the one the answer names."""
    text = ref if ":" in ref else answer.headers.get("docker-content-digest", "")
    try:
        return Digest.parse(text)
    except InvalidDigest:
        return None


def _no_tag_delete(e: RegistryError) -> RegistryError:
    if e.status not in (400, 405):
        return e
    return RegistryError(
        e.summary,
        status=e.status,
        registry_code=e.registry_code,
        why=e.why,
        remedy="this registry cannot delete a single tag; deleting by digest would take along "
        "every tag of that image",
        evidence=e.evidence,
    )


async def _piece(body: bytes) -> AsyncIterator[bytes]:
    yield body


def _sibling(here: RemoteRepository, source: Source) -> str:
    """The name of the source, if it is a repository of the same registry; else nothing."""
    if not isinstance(source, RemoteRepository):
        return ""
    return source.name if source.reference.registry == here.reference.registry else ""
