"""Jobs of GitHub Actions and GitLab CI become robots, by tokens that a real provider signed."""

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from sqlalchemy import Connection

from argosy.access.identity.jobs import Job, looks_like_one
from argosy.access.identity.workload import (
    GITHUB as GITHUB_ISSUER,
)
from argosy.access.identity.workload import (
    Rule,
    WorkloadOptions,
    Workloads,
    add_rule,
    remove_rule,
    rules_of,
)
from argosy.access.signing_in.backends import BackendUnavailable
from argosy.access.signing_in.refused import Refused
from argosy.catalog import schema as t
from argosy.catalog.actor import SYSTEM
from argosy.catalog.database import Database, open_database
from argosy.catalog.people import robots
from argosy.errors import NotFound, UsageError
from tests.access.ci_claims import GITHUB, GITHUB_HEADER, GITLAB
from tests.oidc_provider import Provider

AUDIENCE = "https://registry.test"
ROBOT = "robot$team+ci"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(str(tmp_path / "argosy.db")) as found:
        yield found


@pytest.fixture
async def jobs(database: Database, oidc: Provider) -> AsyncIterator[Workloads]:
    found = Workloads(database, WorkloadOptions(issuers=(oidc.issuer, GITHUB_ISSUER)))
    yield found
    await found.close()


async def robot(database: Database, name: str = ROBOT, **more: Any) -> int:
    values = {"name": name, "secret": "hash-of-it", "grants": ["repository:team/**:pull"], **more}
    return await database.write(lambda conn: robots.add_robot(conn, values))


async def rule(
    database: Database, oidc: Provider, key: int, audience: str = AUDIENCE, **claims: str
) -> int:
    wanted = Rule(issuer=oidc.issuer, audience=audience, claims=claims)

    def write(conn: Connection) -> int:
        found = robots.robot_by_id(conn, key)
        assert found is not None
        return add_rule(conn, found, wanted, SYSTEM).id

    return await database.write(write)


def reason(found: object) -> str:
    assert isinstance(found, Refused), found
    return found.reason


@pytest.mark.parametrize(
    ("claims", "header", "wanted"),
    [
        (GITHUB, GITHUB_HEADER, {"repository": "acme/app", "ref": "refs/heads/main"}),
        (GITHUB, GITHUB_HEADER, {"sub": "repo:acme/app:**", "environment": "prod"}),
        (GITLAB, {}, {"project_path": "my-group/my-project", "ref_type": "branch"}),
        (GITLAB, {}, {"namespace_path": "my-group", "user_access_level": "developer"}),
    ],
)
async def test_a_job_whose_claims_fit_is_the_robot_while_its_token_is_good(
    database: Database,
    oidc: Provider,
    jobs: Workloads,
    *,
    claims: dict[str, Any],
    header: dict[str, Any],
    wanted: dict[str, str],
) -> None:
    key = await robot(database)
    await rule(database, oidc, key, **wanted)
    token = oidc.sign(claims, **header)
    assert looks_like_one(token)
    for named in ("", ROBOT):
        found = await jobs.job(token, named)
        assert isinstance(found, Job)
        assert (found.principal.name, found.principal.kind, found.principal.id) == (
            ROBOT,
            "robot",
            key,
        )
        assert found.subject == claims["sub"]
        assert 0 < found.expires - time.time() <= 300


@pytest.mark.parametrize(
    "change",
    [
        {"repository": "evil/app", "sub": "repo:evil/app:ref:refs/heads/main"},
        {"repository": "acme/app-evil"},
        {"ref": "refs/heads/other"},
        {"ref": None},
        {"repository": ["acme/app"]},
    ],
)
async def test_a_job_with_other_claims_is_nobody(
    database: Database, oidc: Provider, jobs: Workloads, change: dict[str, Any]
) -> None:
    await rule(database, oidc, await robot(database), repository="acme/app", ref="refs/heads/main")
    assert "no robot has a rule" in reason(await jobs.job(oidc.sign({**GITHUB, **change})))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"aud": "https://other.test"}, "not for this registry"),
        ({"aud": None}, "not for this registry"),
        ({"exp": 1_000_000_000}, "expired"),
        ({"exp": None}, "'exp'"),
        ({"iat": None}, "'iat'"),
        ({"nbf": 9_999_999_999}, "'nbf'"),
        ({"sub": None}, "whom it is about"),
    ],
)
async def test_a_token_that_is_not_good_does_not_count(
    database: Database, oidc: Provider, jobs: Workloads, change: dict[str, Any], why: str
) -> None:
    await rule(database, oidc, await robot(database), repository="acme/app")
    assert why in reason(await jobs.job(oidc.sign({**GITHUB, **change})))


async def test_an_audience_of_another_robot_does_not_open_this_one(
    database: Database, oidc: Provider, jobs: Workloads
) -> None:
    mine = await robot(database)
    await rule(database, oidc, mine, repository="acme/app")
    other = await robot(database, "robot$other+ci")
    await rule(database, oidc, other, audience="https://other.test", repository="x/y")
    found = await jobs.job(oidc.sign({**GITHUB, "aud": "https://other.test"}))
    assert "no robot has a rule" in reason(found)


def _forged(claims: dict[str, Any], oidc: Provider) -> dict[str, str]:
    """Tokens that somebody without the provider's key could make."""
    now = int(time.time())
    whole = {**claims, "iss": oidc.issuer, "iat": now, "exp": now + 300}
    own = RSAKey.generate_key(2048, {"kid": oidc.key.kid})

    def part(value: object) -> str:
        raw = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    confused = f"{part({'alg': 'HS256', 'kid': oidc.key.kid})}.{part(whole)}"
    mac = hmac.digest(oidc.key.as_pem(private=False), confused.encode(), "sha256")
    good = oidc.sign(claims)
    head, body, signature = good.split(".")
    return {
        "none": f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(whole)}.",
        "none with its kid": f"{part({'alg': 'none', 'kid': oidc.key.kid})}.{part(whole)}.{signature}",
        "key confusion": f"{confused}.{part(mac)}",
        "own key": jwt.encode({"alg": "RS256", "kid": oidc.key.kid}, whole, own, ["RS256"]),
        "own key in the header": jwt.encode(
            {"alg": "RS256", "jwk": own.as_dict(private=False)}, whole, own, ["RS256"]
        ),
        "unknown kid": jwt.encode({"alg": "RS256", "kid": "mine"}, whole, own, ["RS256"]),
        "changed claims": f"{head}.{part({**whole, 'actor': 'x'})}.{signature}",
        "changed header": f"{part({'alg': 'RS256'})}.{body}.{signature}",
        "no signature": f"{head}.{body}.",
        "an access token": oidc.sign(claims, typ="at+jwt"),
        "crit": f"{part({'alg': 'RS256', 'crit': ['b64'], 'b64': False})}.{body}.{signature}",
    }


async def test_forged_tokens_do_not_count(
    database: Database, oidc: Provider, jobs: Workloads
) -> None:
    await rule(database, oidc, await robot(database), repository="acme/app")
    assert isinstance(await jobs.job(oidc.sign(GITHUB)), Job)
    for how, token in _forged(GITHUB, oidc).items():
        assert isinstance(await jobs.job(token), Refused), how


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "eyJ.e30.x", "eyJ" + "." * 9, "é.é.é"])
async def test_what_is_no_token_is_nothing(jobs: Workloads, token: str) -> None:
    assert "not of a provider" in reason(await jobs.job(token))


async def test_tokens_of_issuers_that_are_not_in_the_settings_cost_no_request(
    database: Database, oidc: Provider
) -> None:
    others = Workloads(database, WorkloadOptions(issuers=(GITHUB_ISSUER,)))
    assert "not of a provider" in reason(await others.job(oidc.sign(GITHUB)))
    with pytest.raises(UsageError, match="do not count here"):
        others.known(oidc.issuer)
    assert not oidc.asked
    await others.close()


async def test_no_rule_no_request(oidc: Provider, jobs: Workloads) -> None:
    assert "no robot has a rule" in reason(await jobs.job(oidc.sign(GITHUB)))
    assert not oidc.asked


async def test_a_provider_that_is_down_is_an_outage(
    database: Database, oidc: Provider, jobs: Workloads
) -> None:
    await rule(database, oidc, await robot(database), repository="acme/app")
    oidc.down = True
    with pytest.raises(BackendUnavailable):
        await jobs.job(oidc.sign(GITHUB))


async def test_of_two_robots_that_fit_the_job_has_to_name_one(
    database: Database, oidc: Provider, jobs: Workloads
) -> None:
    first, second = await robot(database), await robot(database, "robot$team+other")
    for key in (first, second):
        await rule(database, oidc, key, repository="acme/app")
    token = oidc.sign(GITHUB)
    assert "more than one" in reason(await jobs.job(token))
    found = await jobs.job(token, "robot$team+other")
    assert isinstance(found, Job)
    assert found.principal.id == second
    assert "no robot has a rule" in reason(await jobs.job(token, "robot$team+third"))


@pytest.mark.parametrize("change", [{"disabled": True}, {"expires_at": 1}])
async def test_a_robot_that_is_disabled_or_over_takes_no_jobs(
    database: Database, oidc: Provider, jobs: Workloads, change: dict[str, Any]
) -> None:
    key = await robot(database)
    await rule(database, oidc, key, repository="acme/app")
    await database.write(lambda conn: robots.change_robot(conn, key, change))
    assert "no robot has a rule" in reason(await jobs.job(oidc.sign(GITHUB)))


async def test_rules_are_kept_told_in_the_audit_log_and_removed(
    database: Database, oidc: Provider, jobs: Workloads
) -> None:
    key = await robot(database)
    number = await rule(database, oidc, key, repository="acme/app")
    kept = await database.read(lambda conn: rules_of(conn, key))
    assert [(one.id, dict(one.claims)) for one in kept] == [(number, {"repository": "acme/app"})]

    def drop(conn: Connection) -> None:
        found = robots.robot_by_id(conn, key)
        assert found is not None
        remove_rule(conn, found, number, SYSTEM)

    await database.write(drop)
    assert isinstance(await jobs.job(oidc.sign(GITHUB)), Refused)
    with pytest.raises(NotFound):
        await database.write(drop)
    actions = await database.read(lambda conn: conn.execute(t.audit.select()).all())
    assert [row.action for row in actions] == ["robot-rule.create", "robot-rule.delete"]


async def test_a_rule_without_audience_or_owner_is_refused(
    database: Database, oidc: Provider
) -> None:
    key = await robot(database)
    with pytest.raises(UsageError, match="audience"):
        await rule(database, oidc, key, audience="", repository="acme/app")
    with pytest.raises(UsageError, match="other people"):
        await rule(database, oidc, key, ref="refs/heads/main")
