"""A secret in the place of a name, which happens to people, is not kept as one."""

from pathlib import Path
from urllib.parse import urlencode

from argosy.access.permissions.permission import Role
from argosy.server.guarding.token_service import _TYPE, EXCHANGE
from tests.guarded import ADMIN, PASSWORD, guarded

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def test_a_token_that_was_given_as_a_name_is_not_in_the_audit_log(tmp_path: Path) -> None:
    with guarded(tmp_path) as world:
        world.user("ada", Role.DEVELOPER)
        token = world.token("ada")
        assert world.client.by(token, "x-oauth-basic")("GET", "/token").status == 401
        assert world.client.by(token, "x")("GET", "/v2/team/app/manifests/v1").status == 401
        fields = urlencode({"name": token, "password": "x"})
        assert world.client("POST", "/login", fields, FORM).status == 403
        job = {"subject_token": "x", "subject_token_type": f"{_TYPE}jwt", "robot": token}
        fields = urlencode({"grant_type": EXCHANGE, "service": "argosy", **job})
        assert world.client("POST", "/token", fields, FORM).status in (400, 401)
        world.run(world.serving.app.auditing.denials.flush())
        log = world.client.by(ADMIN, PASSWORD)("GET", "/api/v1/audit?outcome=denied")
        assert [e["details"].get("as") for e in log.json["items"]] == ["(a secret)"] * 4
        assert token not in log.body.decode()
