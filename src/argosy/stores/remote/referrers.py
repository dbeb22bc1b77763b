"""Which manifests name another as their subject: by API, or by the fallback tag where there is none.

Source: distribution-spec, Listing Referrers; Referrers Tag Schema.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from argosy.content.memory import as_referrer
from argosy.content.store import Source
from argosy.content.verify import read
from argosy.errors import ManifestInvalid, NotFound
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.manifest import Index, Manifest, dump, parse_manifest
from argosy.stores.remote.auth import repository_scope
from argosy.stores.remote.links import pages
from argosy.stores.remote.transport import Answer
from argosy.stores.remote.ways import Ways

_ACCEPT = {"Accept": media.OCI_INDEX}

PutTagged = Callable[[Descriptor, bytes, str], Awaitable[Any]]


def fallback_tag(digest: Digest) -> str:
    """The tag whose index lists the referrers of `digest` (Referrers Tag Schema)."""
    return f"{digest.algorithm[:32]}-{digest.hex[:64]}"


@dataclass(slots=True)
class Subjects:
    """The referrers of one repository's manifests.

    The fallback tag is read, changed and written back: clients of other machines
    that do so at the same moment may lose an entry; those of this process may not.
    """

    store: Source
    ways: Ways
    repository: str
    put_tagged: PutTagged
    _api: bool | None = None  # not known before the first answer
    _turns: dict[Digest, asyncio.Lock] = field(default_factory=dict)

    async def of(self, digest: Digest, artifact_type: str) -> Sequence[Descriptor]:
        """Every manifest about `digest`, of one artifact type if given."""
        found = await self._from_api(digest, artifact_type) if self._api is not False else None
        if found is None:
            found = await self._from_tag(digest)
        return [d for d in found if artifact_type in ("", d.artifact_type)]

    async def noted(self, desc: Descriptor, data: bytes, answer: Answer) -> None:
        """After a manifest was put: list it at its subject, unless the registry said it did."""
        view = parse_manifest(data, desc.media_type)
        if view.subject is None or "oci-subject" in answer.headers:
            return
        subject = view.subject.digest
        if self._api is None and await self._from_api(subject, "") is not None:
            return  # it has the API and merely does not say so
        entry = _entry(desc, view)
        async with self._turns.setdefault(subject, asyncio.Lock()):
            listed = await self._from_tag(subject)
            if any(d.digest == desc.digest for d in listed):
                return
            await self._write(subject, [*listed, entry])

    async def forgotten(self, desc: Descriptor) -> None:
        """Before a manifest is deleted: take it from its subject's fallback tag, if it is there."""
        if not media.is_manifest(desc.media_type):
            return
        view = parse_manifest(await read(self.store, desc), desc.media_type)
        if view.subject is None or await self._from_api(view.subject.digest, "") is not None:
            return
        subject = view.subject.digest
        async with self._turns.setdefault(subject, asyncio.Lock()):
            listed = await self._from_tag(subject)
            left = [d for d in listed if d.digest != desc.digest]
            if len(left) < len(listed):
                await self._write(subject, left)

    async def _from_api(self, digest: Digest, artifact_type: str) -> list[Descriptor] | None:
        if self._api is False:
            return None
        # Quoted: the `+` of `…+json` would be a blank to the registry.
        query = f"?artifactType={quote(artifact_type, safe='')}" if artifact_type else ""
        path = f"{self.repository}/referrers/{digest}{query}"
        what = f"list the referrers of {digest} in {self.repository}"
        scopes = (repository_scope(self.repository, "pull"),)
        found: list[Descriptor] = []
        try:
            async for answer, value in pages(await self.ways.home(), path, what, scopes, _ACCEPT):
                kind = answer.headers.get("content-type", "").partition(";")[0]
                if kind != media.OCI_INDEX:
                    self._api = False  # a 200 from something that answers everything
                    return None
                items = value.get("manifests") or []
                found += [Descriptor.from_json(item) for item in items]
        except NotFound:
            self._api = False
            return None
        self._api = True
        return found

    async def _from_tag(self, digest: Digest) -> list[Descriptor]:
        try:
            index = await self.store.resolve(fallback_tag(digest))
            view = parse_manifest(await read(self.store, index), index.media_type)
        except NotFound:
            return []
        if not isinstance(view, Index):
            raise ManifestInvalid(
                f"tag {fallback_tag(digest)} of {self.repository} is not an index",
                why="this tag is reserved for the referrers of a manifest (Referrers Tag Schema)",
                remedy="delete or rename the tag",
            )
        return list(view.manifests)

    async def _write(self, subject: Digest, listed: Sequence[Descriptor]) -> None:
        value = {
            "schemaVersion": 2,
            "mediaType": media.OCI_INDEX,
            "manifests": [d.to_json() for d in listed],
        }
        data = dump(value)
        index = Descriptor.of(media.OCI_INDEX, data)
        await self.put_tagged(index, data, fallback_tag(subject))


def _entry(desc: Descriptor, view: Manifest | Index) -> Descriptor:
    return as_referrer(desc, view.kind, dict(view.annotations))
