"""Addresses in logs and in the audit: what trusted proxies say, and nobody else."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import ConfigError
from argosy.server.http.messages import Headers, Request
from argosy.server.observing.addresses import Proxies, host


def asked(peer: str, *said: str, **more: str) -> Request:
    pairs = [("X-Forwarded-For", value) for value in said] + [
        (k.replace("_", "-"), v) for k, v in more.items()
    ]
    return Request("GET", "/", headers=Headers(pairs), peer=peer)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("10.0.0.1:80", "10.0.0.1"),
        ("::1:5000", "::1"),
        ("2001:db8::1:443", "2001:db8::1"),
        ("::ffff:10.0.0.1:80", "10.0.0.1"),
        ("fe80::1%eth0:80", "fe80::1"),
        ("unix", "unix"),
    ],
)
def test_a_peer_is_known_by_its_address_alone(peer: str, address: str) -> None:
    assert host(peer) == address
    assert Proxies().address(asked(peer)) == address


def test_who_is_no_trusted_proxy_is_not_believed() -> None:
    request = asked("8.8.8.8:1", "1.2.3.4", x_forwarded_proto="https")
    for proxies in (Proxies(), Proxies(["10.0.0.0/8"])):
        assert proxies.address(request) == "8.8.8.8"
        assert not proxies.secure(request)


@pytest.mark.parametrize(
    ("said", "address"),
    [
        (["1.2.3.4"], "1.2.3.4"),
        (["6.6.6.6, 1.2.3.4"], "1.2.3.4"),  # what stands further left, the client made up
        (["6.6.6.6", "1.2.3.4, 10.0.0.9"], "1.2.3.4"),  # two fields, and two proxies of ours
        (["1.2.3.4:5555"], "1.2.3.4"),
        (["[2001:DB8::1]:99"], "2001:db8::1"),
        (["::ffff:1.2.3.4"], "1.2.3.4"),
        (["10.0.0.8"], "10.0.0.8"),  # a client within
        (["6.6.6.6, unknown"], "10.0.0.1"),
        (["6.6.6.6, 1.2.3.4; DROP TABLE"], "10.0.0.1"),
        (["6.6.6.6, "], "10.0.0.1"),
        ([], "10.0.0.1"),
    ],
)
def test_a_trusted_proxy_is_believed_as_far_as_it_can_know(said: list[str], address: str) -> None:
    assert Proxies(["10.0.0.0/8"]).address(asked("10.0.0.1:80", *said)) == address


def test_a_field_that_proxies_pass_on_as_clients_wrote_it_is_not_read() -> None:
    request = asked("10.0.0.1:80", "1.2.3.4", forwarded="for=6.6.6.6")
    assert Proxies(["10.0.0.1"]).address(request) == "1.2.3.4"
    assert Proxies(["::1"]).address(asked("::1:80", forwarded="for=6.6.6.6")) == "::1"


def test_a_proxy_on_a_unix_socket_can_be_trusted() -> None:
    assert Proxies(["unix"]).address(asked("unix", "1.2.3.4")) == "1.2.3.4"
    assert Proxies(["10.0.0.0/8"]).address(asked("unix", "1.2.3.4")) == "unix"


def test_https_is_what_the_nearest_proxy_says() -> None:
    proxies = Proxies(["10.0.0.1"])
    assert proxies.secure(asked("10.0.0.1:1", x_forwarded_proto="http, https"))
    assert not proxies.secure(asked("10.0.0.1:1", x_forwarded_proto="https, http"))


@pytest.mark.parametrize("text", ["10.0.0.0/99", "proxy.example", ""])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no address or network"):
        Proxies([text])


@given(st.lists(st.text(max_size=60), max_size=3))
def test_whatever_is_said_the_answer_is_an_address(said: list[str]) -> None:
    ipaddress.ip_address(Proxies(["10.0.0.0/8"]).address(asked("10.0.0.1:80", *said)))
