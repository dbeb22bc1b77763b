"""What an upload that ends without a blob leaves in the bucket, and how it goes."""

import logging
import time
from contextlib import suppress
from typing import Final

from argosy.content.blob_storage import Claim
from argosy.content.upload_ledger import Held, State, UploadBook, UploadLedger
from argosy.errors import ArgosyError
from argosy.stores.s3 import naming
from argosy.stores.s3.bucket import Begun, Bucket

log = logging.getLogger("argosy.stores.s3")

_PAGE: Final = 200
_LEASE: Final = 60.0


async def remove(bucket: Bucket, state: State) -> None:
    """Remove what an upload that nobody will go on with has stored."""
    if state.multipart:
        await bucket.drop_parts(state.key, state.multipart)
    for key in {state.key, state.tail_key, *state.drop} - {""}:
        await bucket.delete(key)


async def remove_turn(bucket: Bucket, token: str, keep: State | None = None) -> None:
    """Remove what a turn may have stored that never said how it ended; not what is in `keep`.

    It may have said it without hearing that it was understood.
    """
    key = naming.blob(token)
    kept = {keep.key, keep.tail_key, keep.multipart} if keep is not None else set()
    async for begun in bucket.begun(key):
        if begun.id not in kept:
            await bucket.drop_parts(begun.key, begun.id)
    for name in {key, naming.tail(token)} - kept:
        await bucket.delete(name)


async def sweep(
    bucket: Bucket, ledger: UploadLedger, book: UploadBook, max_age: float, token: str
) -> int:
    """Remove the uploads that nobody has touched for so long; how many.

    Any node may do it at any time: each upload is taken first, as for writing.
    """
    count = 0
    while True:
        found = await book.untouched(max_age, _PAGE)
        gone = [await _sweep_one(bucket, ledger, Claim(id, token), max_age) for id in found]  # noqa: A001
        count += sum(gone)
        if not any(gone):
            break
    return count + await _sweep_nameless(bucket, book, max_age)


async def _sweep_one(bucket: Bucket, ledger: UploadLedger, claim: Claim, max_age: float) -> bool:
    held: Held | None = None
    try:
        held = await ledger.take(claim, _LEASE, idle=max_age)
        if held is None:  # somebody has gone on with it since it was found
            return False
        await remove(bucket, held.state)
        if held.before:
            await remove_turn(bucket, held.before)
        await ledger.end(claim)
    except ArgosyError as e:  # the next one may go; this one stays for the next time
        log.warning("upload %s cannot be removed: %s: %s", claim.upload, e.summary, e.why)
        if held is not None:
            with suppress(ArgosyError):
                await ledger.drop(claim, held.before)
        return False
    return True


async def _sweep_nameless(bucket: Bucket, book: UploadBook, max_age: float) -> int:
    """Abort multipart uploads that no upload knows of: their node died before it wrote them down."""
    count, page = 0, list[Begun]()
    before = time.time() - max_age
    async for begun in bucket.begun(naming.BLOBS):
        if begun.at <= before:
            page.append(begun)
        if len(page) >= _PAGE:
            count += await _drop_unknown(bucket, book, page)
            page = []
    return count + await _drop_unknown(bucket, book, page)


async def _drop_unknown(bucket: Bucket, book: UploadBook, page: list[Begun]) -> int:
    if not page:
        return 0
    # While a turn lasts, its row knows its token only, which is in the key.
    names = {begun: {begun.id, naming.token(begun.key)} for begun in page}
    known = await book.known(set().union(*names.values()))
    unknown = [begun for begun, own in names.items() if own.isdisjoint(known)]
    for begun in unknown:
        await bucket.drop_parts(begun.key, begun.id)
    return len(unknown)
