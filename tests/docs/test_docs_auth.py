"""The settings that docs/auth.md shows are settings, and those for a directory work with one."""

import re
from pathlib import Path

import pytest

from argosy.access.identity.ldap.directory import Ldap, LdapOptions
from argosy.server.config.loading import load
from argosy.server.config.probing import contradictions
from argosy.server.config.sections import ServerSettings
from tests.slapd import BASE, READER_PASSWORD, Slapd

PAGE = Path(__file__).resolve().parents[2] / "docs" / "auth.md"
EXAMPLE = re.compile(r"<!-- example: ([a-z-]+) -->\n```toml\n(.*?)```", re.DOTALL)
EXAMPLES = dict(EXAMPLE.findall(PAGE.read_text()))


def read(text: str, tmp_path: Path, **files: str) -> ServerSettings:
    """The settings of an example, with real files where it names files."""
    for name, content in files.items():
        (tmp_path / name).write_text(content)
        text = re.sub(rf'"/[a-z/]+/{name.replace("_", ".")}[a-z.]*"', f'"{tmp_path}/{name}"', text)
    (tmp_path / "argosy.toml").write_text(text)
    environ = {"AD_PASSWORD": "secret", "ARGOSY_SERVER_DATA": str(tmp_path)}
    return load(str(tmp_path / "argosy.toml"), environ=environ)


def test_the_page_has_its_examples() -> None:
    wanted = {"htpasswd", "openldap", "direct", "active-directory", "oidc", "workload"}
    assert set(EXAMPLES) == wanted


@pytest.mark.parametrize("name", EXAMPLES)
async def test_an_example_can_be_used_as_it_stands(name: str, tmp_path: Path, slapd: Slapd) -> None:
    text = EXAMPLES[name].replace("/etc/argosy/ldap-ca.pem", str(slapd.ca))
    settings = read(text, tmp_path, ldap="secret", oidc="secret")
    assert await contradictions(settings) == []


@pytest.mark.peer
@pytest.mark.parametrize("name", ["openldap", "direct"])
async def test_the_examples_for_a_directory_work_with_one(
    name: str, tmp_path: Path, slapd: Slapd
) -> None:
    text = EXAMPLES[name].replace("dc=example,dc=org", BASE)
    text = text.replace("/etc/argosy/ldap-ca.pem", str(slapd.ca))
    text = text.replace("ldaps://ldap1.example.org", slapd.secure)
    text = text.replace("ldaps://ldap2.example.org", slapd.secure)
    text = text.replace("ldap://ldap1.example.org", slapd.url)
    section = read(text, tmp_path, ldap=READER_PASSWORD).ldap
    names = LdapOptions.__annotations__
    users = Ldap(LdapOptions(**{each: getattr(section, each) for each in names}))
    found = await users.verify("ann", "ann's password")
    assert found is not None
    assert found.is_admin is (True if name == "openldap" else None)
    assert "dev" in found.groups
