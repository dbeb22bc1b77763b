"""A blob that was damaged on this machine's disk: forgotten, so that it is made or fetched again."""

from argosy.content.store import ForgetsDamage, Store
from argosy.errors import ArgosyError, CopyError, DigestMismatch, InvalidDigest
from argosy.model.digest import Digest
from argosy.observe import Event, Report


async def forgot_damage(e: ArgosyError, images: Store, report: Report) -> bool:
    """Whether an error came of damage in `images`, which is gone now: the work is worth another try."""
    found = e.cause if isinstance(e, CopyError) else e
    if not isinstance(found, DigestMismatch) or not isinstance(images, ForgetsDamage):
        return False
    try:
        digest = Digest.parse(found.expected)
    except InvalidDigest:
        return False
    if not await images.forget_damage(digest):
        return False
    text = f"{digest} was damaged on this machine's disk; it is made or fetched again"
    report(Event("warning", "damage", "local images", text=text))
    return True
