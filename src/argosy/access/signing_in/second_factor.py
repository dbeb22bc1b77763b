"""The second factor of people: an authenticator app, and codes on paper for when it is lost.

    begin     a secret is made and shown once; nothing changes yet
    confirm   a code of it proves that the app has it: from now on it is asked for, and ten
              recovery codes are shown, once
    check     a code or a recovery code; each is good once, on whatever node

With it on, the password alone opens nothing that cannot ask for the code: clients such as
docker need a personal access token.
"""

from sqlalchemy import Connection, delete, func, insert, select, update

from argosy.access.identity import totp
from argosy.access.signing_in.refused import Refused, Slowed
from argosy.access.signing_in.throttle import Throttle
from argosy.access.tokens.sealing import Sealer
from argosy.catalog import schema as t
from argosy.catalog.actor import Actor
from argosy.catalog.audit import Entry, record
from argosy.catalog.database import Database
from argosy.catalog.people import users as people
from argosy.catalog.people.users import User
from argosy.values import frozen

_PURPOSE = "second-factor"
_u, _c = t.users.c, t.recovery_codes.c
WRONG_CODE = Refused(
    "the code is wrong, or was used already",
    "wait for the next one; if it stays wrong, set the clock of the device",
)


@frozen
class Enrolment:
    """What the app needs, shown once: as an address for it, and as letters to type."""

    uri: str
    secret: str

    def __repr__(self) -> str:
        return "Enrolment(…)"


class SecondFactor:
    """The second factors in the catalog."""

    def __init__(self, database: Database, sealer: Sealer, issuer: str = "Argosy") -> None:
        self._db = database
        self._sealer = sealer
        self._issuer = issuer

    async def begin(self, user: User) -> Enrolment | Refused:
        """A secret for the app of somebody who has none; an earlier one that waits is forgotten."""
        if user.second_factor:
            return Refused("there is a second factor already", "take it away first")
        secret = totp.new_secret()
        sealed = self._sealer.seal(_PURPOSE, str(user.id), secret)
        unconfirmed = (
            update(t.users).where(_u.id == user.id, ~_u.totp_confirmed).values(totp=sealed)
        )
        await self._db.write(lambda conn: conn.execute(unconfirmed))
        uri = totp.otpauth_uri(secret, account=user.name, issuer=self._issuer)
        return Enrolment(uri, totp.base32(secret))

    async def confirm(self, user: User, code: str, by: Actor) -> list[str] | Refused:
        """Ask for it from now on, if the code is the app's; the recovery codes."""
        codes = totp.new_recovery_codes()
        step = await self._step(user, code, confirmed=False)
        if step is None:
            return WRONG_CODE

        def write(conn: Connection) -> bool:
            changed = update(t.users).where(_u.id == user.id, ~_u.totp_confirmed)
            if not conn.execute(changed.values(totp_confirmed=True, totp_step=step)).rowcount:
                return False
            people.change_user(conn, user.id, {})  # what memory holds of them is old
            _put_codes(conn, user.id, codes)
            record(conn, by, Entry(action="user.second-factor.on", resource=user.name))
            return True

        return codes if await self._db.write(write) else WRONG_CODE

    async def check(self, user: User, code: str) -> bool:
        """Whether the code is the app's now, or a recovery code; it is used up then."""
        if (hashed := totp.recovery_hash(code)) is not None:
            return await self._recovered(user, hashed)
        step = await self._step(user, code, confirmed=True)
        if step is None:
            return False
        # Only one of two that come with the same code at once can move the step.
        used = update(t.users).where(_u.id == user.id, _u.totp_step < step).values(totp_step=step)
        return await self._db.write(lambda conn: conn.execute(used).rowcount) > 0

    async def guessed(
        self, throttle: Throttle, user: User, code: str, address: str
    ) -> Refused | None:
        """None for a right code; a wrong one counts as a wrong password does. WRONG_CODE, Slowed."""
        async with throttle.turn(user.name, address, alone=True) as seconds:
            if seconds > 0:
                why = f"wait {seconds:.0f} s; personal access tokens go on working"
                return Slowed("too many wrong codes", why, seconds=seconds)
            if await self.check(user, code):
                return None
            await throttle.failed(user.name, address)
            return WRONG_CODE

    async def codes_left(self, user: User) -> int:
        """How many recovery codes are not used."""
        count = select(func.count()).where(_c.user_id == user.id, _c.used_at.is_(None))
        return int(await self._db.read(lambda conn: conn.execute(count).scalar_one()))

    async def renew_codes(self, user: User, by: Actor) -> list[str]:
        """New recovery codes; those from before are good no more."""
        codes = totp.new_recovery_codes()

        def write(conn: Connection) -> None:
            _put_codes(conn, user.id, codes)
            record(conn, by, Entry(action="user.recovery-codes.create", resource=user.name))

        await self._db.write(write)
        return codes

    async def remove(self, user: User, by: Actor) -> None:
        """Ask for it no more: by who has it, or by an admin for somebody who lost it."""

        def write(conn: Connection) -> None:
            people.change_user(conn, user.id, {"totp": None, "totp_confirmed": False})
            conn.execute(delete(t.recovery_codes).where(_c.user_id == user.id))
            record(conn, by, Entry(action="user.second-factor.off", resource=user.name))

        await self._db.write(write)

    async def _step(self, user: User, code: str, *, confirmed: bool) -> int | None:
        wanted = select(_u.totp, _u.totp_confirmed, _u.totp_step).where(_u.id == user.id)
        row = await self._db.read(lambda conn: conn.execute(wanted).one_or_none())
        if row is None or row.totp is None or row.totp_confirmed != confirmed:
            return None
        secret = self._sealer.open(_PURPOSE, str(user.id), row.totp)
        return totp.matching_step(secret, code, after=row.totp_step)

    async def _recovered(self, user: User, hashed: str) -> bool:
        used = (
            update(t.recovery_codes)
            .where(_c.user_id == user.id, _c.hash == hashed, _c.used_at.is_(None))
            .values(used_at=t.now())
        )
        return await self._db.write(lambda conn: conn.execute(used).rowcount) > 0


def _put_codes(conn: Connection, user: int, codes: list[str]) -> None:
    conn.execute(delete(t.recovery_codes).where(_c.user_id == user))
    rows = [{"user_id": user, "hash": totp.recovery_hash(code)} for code in codes]
    conn.execute(insert(t.recovery_codes), rows)
