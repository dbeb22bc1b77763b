"""What a client sends is never the database's problem: a NUL, which PostgreSQL has no text for."""

from urllib.parse import urlencode

import pytest

from argosy.server.guarding.token_service import EXCHANGE
from tests.company import PASSWORD, Company

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JOB = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2dpdGxhYi5jb20ifQ.eHh4"  # says gitlab.com, and no more


@pytest.mark.parametrize("who", ["nobody", "admin"])
@pytest.mark.parametrize(
    "path",
    [
        "/projects/te%00am",
        "/projects/te%00am/members",
        "/repositories/te%00am%2Fapp",
        "/robots/robot$te%00am+x",
        "/projects/team/members/user/a%00da",
        "/users/a%00da",
    ],
)
def test_a_path_with_nul_is_refused_as_one(company: Company, path: str, who: str) -> None:
    asks = company.admin if who == "admin" else company.nobody
    assert asks("GET", path).status == 400


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/token", {"grant_type": "password", "username": "a\0b", "password": "x"}),
        ("/token", {"grant_type": "refresh_token", "refresh_token": "x", "client_id": "a\0b"}),
        (
            "/token",
            {
                "grant_type": EXCHANGE,
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                "subject_token": JOB,
                "robot": "a\0b",
            },
        ),
        ("/login", {"name": "a\0b", "password": "x"}),
        (
            "/login/password",
            {"name": "a\0b", "password": "x", "new": PASSWORD, "again": PASSWORD},
        ),
        ("/login/code", {"handle": "a\0b", "code": "000000"}),
        ("/auth/device", {"client": "a\0b"}),
    ],
)
def test_a_form_with_nul_is_answered_as_any_other(
    company: Company, path: str, fields: dict[str, str]
) -> None:
    answer = company.client("POST", path, urlencode(fields), FORM)
    assert answer.status in ((400,) if path == "/token" else (200, 403))


def test_a_token_is_not_given_to_a_client_whose_name_has_nul(company: Company) -> None:
    ada = company.user("ada")
    asked = "/token?service=argosy&offline_token=true&client_id=a%00b"
    assert ada.client("GET", asked).status == 400
