"""What is somebody's own is changed by them, and not by what has only some of their rights."""

from typing import Any

import pytest

from tests.company import PASSWORD, Company, Person
from tests.serving import Answer

CHANGES = (
    ("POST", "/tokens", {"name": "for ever", "days": None}),
    ("GET", "/tokens", None),
    ("DELETE", "/tokens/1", None),
    ("POST", "/totp", None),
    ("POST", "/totp/confirm", {"code": "123456"}),
    ("POST", "/totp/remove", {"code": "123456"}),
    ("POST", "/totp/recovery-codes", {"code": "123456"}),
    ("POST", "/projects", {"name": "made-by-a-token"}),
)


def bearing(company: Company, scope: str) -> Person:
    """Somebody who shows nothing but an access token of the admin's."""
    asked = company.client.by("admin", PASSWORD)("GET", f"/token?service=argosy&scope={scope}")
    found = Person(company.client)
    found.client = company.client.bearing(asked.json["token"])
    return found


def ask(who: Person, what: tuple[str, str, Any]) -> Answer:
    return who(*what)


@pytest.mark.parametrize("what", CHANGES, ids=lambda what: " ".join(what[:2]))
@pytest.mark.parametrize("scope", ["repository:team/app:pull", "registry:catalog:*"])
def test_an_access_token_for_the_registry_changes_nothing_of_its_owner(
    company: Company, what: tuple[str, str, Any], scope: str
) -> None:
    """It is good for minutes, and goes wherever a client pulls from: it must not become a password."""
    thief = bearing(company, scope)
    assert ask(thief, what).status == 401
    assert thief.get("/whoami")["name"] == "admin"


@pytest.mark.parametrize("what", CHANGES, ids=lambda what: " ".join(what[:2]))
def test_a_token_with_scopes_changes_nothing_of_its_owner(
    company: Company, what: tuple[str, str, Any]
) -> None:
    ada = company.user("ada")
    narrow = ada.post("/tokens", {"name": "narrow", "scopes": ["repository:team/**:pull"]})
    refused = ask(Person(company.client, ada.name, narrow["token"]), what)
    assert refused.status == 403
    assert "all rights of a user" in refused.json["detail"]
    assert [one["revoked_at"] for one in ada.get("/tokens")["items"]] == [None]


def test_who_is_locked_out_has_no_more_than_nobody_from_what_was_given_before(
    company: Company,
) -> None:
    ada, project = company.user("ada"), company.project(public=True)
    company.admin.push(f"{project}/app")
    asked = ada.client("GET", f"/token?service=argosy&scope=repository:{project}/app:pull")
    pulling = company.client.bearing(asked.json["token"]).at(f"{project}/app")
    assert pulling("GET", "manifests/v1").status == 200
    company.admin.patch(f"/users/{ada.name}", {"disabled": True})
    assert pulling("GET", "manifests/v1").status == 401
