"""Filters and names of LDAP: what is filled in can never become part of the question."""

import socket
import string
import subprocess
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.access.identity.ldap import ber, filters
from argosy.access.identity.ldap.names import escaped, first_value, is_below
from argosy.errors import ConfigError
from tests.peers import need

NAME = frozenset({"name", "dn"})
BIND_SUCCESS = bytes.fromhex("300c02010161070a010004000400")
FILTERS = [
    "(uid={name})",
    "(&(objectClass=person)(uid={name}))",
    "(|(member={dn})(uniqueMember={dn})(memberUid={name}))",
    "(member:1.2.840.113556.1.4.1941:={dn})",
    "(!(cn=Tim Howes))",
    "(&(objectClass=Person)(|(sn=Jensen)(cn=Babs J*)))",
    "(o=univ*of*mich*)",
    "(seeAlso=*)",
    "(age>=5)",
    "(age<=5)",
    "(cn~=Bab)",
    "(cn:caseExactMatch:=Fred Flintstone)",
    "(cn:=Betty Rubble)",
    "(sn:dn:2.4.6.8.10:=Barney Rubble)",
    "(o:dn:=Ace Industry)",
    "(:1.2.3:=Wilma Flintstone)",
    "(o=Parens R Us \\28for all your parenthetical needs\\29)",
    "(cn=*\\2A*)",
    "(filename=C:\\5cMyFile)",
    "(bin=\\04\\02)",
    "(sn=Lu\\c4\\8di\\c4\\87)",
    "(1.3.6.1.4.1.1466.0=\\04\\02Hi)",
    "(cn;lang-de=x)",
]


def encoded(text: str, **values: str) -> bytes | None:
    return filters.encode(filters.parse(text, NAME), values)


class Listener:
    """Takes one conversation of ldapsearch and keeps its search request."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.request = b""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with self._socket, self._socket.accept()[0] as client:
            client.recv(4096)
            client.sendall(BIND_SUCCESS)
            self.request = client.recv(4096)

    def wait(self) -> bytes:
        self._thread.join(10)
        return self.request


@pytest.mark.peer
@pytest.mark.parametrize("text", FILTERS)
def test_a_filter_goes_out_as_ldapsearch_sends_it(text: str) -> None:
    values = {"name": "ann", "dn": "uid=ann,dc=corp"}
    plain = text.replace("{name}", "ann").replace("{dn}", "uid=ann,dc=corp")
    listener = Listener()
    subprocess.run(
        [need("ldapsearch"), "-x", "-H", f"ldap://127.0.0.1:{listener.port}", "-b", "", plain],
        capture_output=True,
        timeout=20,
    )
    wanted = encoded(text, **values)
    assert wanted
    assert wanted in listener.wait()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "uid={name}",
        "(uid={name}",
        "(uid={name}))",
        "(&)",
        "(!(a=b)(c=d))",
        "(uid=a(b)",
        "(u id=x)",
        "(uid=\\2)",
        "(uid=**)",
        "(:=x)",
        "(uid={user})",
        "(" * 60 + "a=b" + ")" * 60,
    ],
)
def test_what_is_no_filter_is_refused_with_the_place(text: str) -> None:
    with pytest.raises(ConfigError, match="is no LDAP filter"):
        filters.parse(text, NAME)


@given(st.text(alphabet="()&|!=*\\{}name:ab0\x00 é", max_size=40))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    try:
        found = filters.parse(text, NAME)
    except ConfigError:
        return
    filters.encode(found, {"name": "x", "dn": "y"})


@given(st.text(max_size=50))
def test_a_name_stays_one_value_whatever_is_in_it(name: str) -> None:
    reader = ber.Reader(encoded("(&(objectClass=person)(uid={name}))", name=name) or b"")
    both = reader.inner(0xA0)
    assert not reader
    both.take(0xA3)
    test = both.inner(0xA3)
    assert not both
    assert (test.take(ber.OCTETS), test.take(ber.OCTETS)) == (b"uid", name.encode())
    assert not test


def test_what_cannot_be_filled_is_left_out() -> None:
    group = "(|(member={dn})(memberUid={name}))"
    assert encoded(group, dn="x") == encoded("(|(member={dn}))", dn="x")
    assert encoded(group) is None
    assert encoded("(&(a=b)(uid={name}))") is None
    assert encoded("(!(uid={name}))") is None


def _naive_split(dn: str) -> list[str]:
    """A DN cut at its commas, by the letter of RFC 4514."""
    parts, part, at = [], "", 0
    while at < len(dn):
        if dn[at] == "\\":
            part, at = part + dn[at : at + 2], at + 2
        elif dn[at] == ",":
            parts, part, at = [*parts, part], "", at + 1
        else:
            part, at = part + dn[at], at + 1
    return [*parts, part]


@given(st.text(max_size=30))
def test_a_name_stays_one_part_of_a_dn(name: str) -> None:
    dn = f"uid={escaped(name)},ou=people,dc=corp"
    assert _naive_split(dn)[1:] == ["ou=people", "dc=corp"]
    assert first_value(dn) == name


@pytest.mark.parametrize(
    ("dn", "name"),
    [
        ("CN=Ops\\, EU,OU=Groups,DC=corp", "Ops, EU"),
        ("cn=J\\C3\\B6rg,dc=x", "Jörg"),
        ("cn=Jörg,dc=x", "Jörg"),
        ("cn=a\\+b+sn=c,dc=x", "a+b"),
        ("cn=tail\\20,dc=x", "tail "),
        ("nonsense", "nonsense"),
        ("", ""),
    ],
)
def test_a_groups_name_is_the_first_value_of_its_dn(dn: str, name: str) -> None:
    assert first_value(dn) == name


@given(st.text(alphabet=string.printable + "é\x00", max_size=30))
def test_any_dn_has_some_first_value(dn: str) -> None:
    first_value(dn)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_malformed(data: bytes) -> None:
    reader = ber.Reader(data)
    try:
        while reader:
            reader.any()
        ber.Reader(data).number()
    except ber.Malformed:
        pass


@given(st.integers(-(2**63), 2**63 - 1), st.binary(max_size=300))
def test_what_is_written_is_read_back(number: int, data: bytes) -> None:
    both = ber.wrap(ber.SEQUENCE, ber.integer(number), ber.octets(data))
    reader = ber.Reader(both).inner(ber.SEQUENCE)
    assert reader.number() == number
    assert reader.take(ber.OCTETS) == data
    assert not reader


@pytest.mark.parametrize(
    ("dn", "base", "below"),
    [
        ("cn=ops,ou=groups,dc=corp", "ou=groups,dc=corp", True),
        ("CN=Ops,OU=Groups,DC=corp", "ou=groups, dc=corp", True),
        ("cn=ops,ou=groups,dc=corp", "", True),
        ("ou=groups,dc=corp", "ou=groups,dc=corp", True),
        ("cn=ops,ou=teams,dc=corp", "ou=groups,dc=corp", False),
        ("cn=ops,xou=groups,dc=corp", "ou=groups,dc=corp", False),
        ("cn=ops,cn=x\\,ou=groups,dc=corp", "ou=groups,dc=corp", False),
        ("cn=x\\,dc=corp", "dc=corp", False),
    ],
)
def test_what_is_below_a_part_of_the_tree(dn: str, base: str, below: bool) -> None:
    assert is_below(dn, base) is below
