"""How hosts are reached: TLS, certificates, mirrors, proxies."""

import asyncio
import ssl
import subprocess
from pathlib import Path

import pytest

from argosy.content.verify import read
from argosy.errors import ConfigError, NetworkError, NotFound, TLSError
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.reference import Reference
from argosy.stores.remote.hosts import Endpoint, Hosts, Places
from tests.scripted import Reply, Scripted, Step, refusal
from tests.stores.remote.remote_kit import REPO, blob, client, manifest_reply

PING = Step("GET", "/v2/", Reply(200))
DATA = b"x" * 1000
DESC = blob(DATA)
MANIFEST = b'{"schemaVersion":2,"mediaType":"%s","manifests":[]}' % media.OCI_INDEX.encode()
M = Descriptor.of(media.OCI_INDEX, MANIFEST)


def openssl(*words, cwd):
    subprocess.run(["openssl", *words], cwd=cwd, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certs(tmp_path_factory) -> Path:
    """ca.pem, server.pem (key + certificate for 127.0.0.1), other.pem (for another name), client.*"""
    folder = tmp_path_factory.mktemp("certs")
    new = (
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    )
    openssl(
        *new,
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-subj",
        "/CN=Test CA",
        "-addext",
        "keyUsage=critical,keyCertSign",
        cwd=folder,
    )
    for name, san in [
        ("server", "IP:127.0.0.1"),
        ("other", "DNS:elsewhere.test"),
        ("client", "DNS:client"),
    ]:
        signed = (
            *new,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.crt",
        )
        usage = "clientAuth" if name == "client" else "serverAuth"
        openssl(
            *signed,
            "-subj",
            f"/CN={name}",
            "-addext",
            f"subjectAltName={san}",
            "-addext",
            f"extendedKeyUsage={usage}",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            cwd=folder,
        )
    return folder


def server_tls(certs: Path, name="server", *, mutual=False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certs / f"{name}.crt", certs / f"{name}.key")
    if mutual:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certs / "ca.pem")
    return context


def certs_d(folder: Path, host: str, **files: Path) -> Places:
    place = folder / host
    place.mkdir(parents=True, exist_ok=True)
    for name, source in files.items():
        (place / name.replace("_", ".")).write_bytes(source.read_bytes())
    return Places(certs=(str(folder),))


async def ping(registry, hosts):
    async with client(registry, hosts=hosts) as c:
        await c.registry(registry.host).ping()


async def test_an_authority_in_certs_d_is_trusted(certs, tmp_path):
    async with Scripted([PING], tls=server_tls(certs)) as registry:
        places = certs_d(tmp_path, registry.host, ca_crt=certs / "ca.pem")
        await ping(registry, Hosts({}, places=places, tls={registry.host: "on"}))


async def test_an_unknown_authority_is_a_tls_error_that_says_where_to_put_it(certs):
    async with Scripted(tls=server_tls(certs)) as registry:
        with pytest.raises(TLSError) as e:
            await ping(registry, Hosts({}, places=Places(), tls={registry.host: "on"}))
    assert f"certs.d/{registry.host}/ca.crt" in e.value.remedy
    assert e.value.exit_code == 6


async def test_a_certificate_for_another_name_is_a_tls_error(certs, tmp_path):
    async with Scripted(tls=server_tls(certs, "other")) as registry:
        places = certs_d(tmp_path, registry.host, ca_crt=certs / "ca.pem")
        with pytest.raises(TLSError) as e:
            await ping(registry, Hosts({}, places=places, tls={registry.host: "on"}))
    assert "another name" in e.value.why


async def test_insecure_does_not_verify(certs):
    async with Scripted([PING], tls=server_tls(certs, "other")) as registry:
        await ping(registry, Hosts({}, places=Places(), tls={registry.host: "insecure"}))


async def test_a_client_certificate_is_shown_to_who_wants_one(certs, tmp_path):
    tls = server_tls(certs, mutual=True)
    async with Scripted([PING], tls=tls) as registry:
        places = certs_d(
            tmp_path,
            registry.host,
            ca_crt=certs / "ca.pem",
            client_cert=certs / "client.crt",
            client_key=certs / "client.key",
        )
        await ping(registry, Hosts({}, places=places, tls={registry.host: "on"}))


async def test_without_a_client_certificate_the_error_is_typed(certs, tmp_path):
    async with Scripted(tls=server_tls(certs, mutual=True)) as registry:
        places = certs_d(tmp_path, registry.host, ca_crt=certs / "ca.pem")
        with pytest.raises(NetworkError):
            await ping(registry, Hosts({}, places=places, tls={registry.host: "on"}))


async def test_a_certificate_without_its_key_is_named(certs, tmp_path):
    async with Scripted(tls=server_tls(certs)) as registry:
        places = certs_d(tmp_path, registry.host, client_cert=certs / "client.crt")
        with pytest.raises(ConfigError) as e:
            await ping(registry, Hosts({}, places=places, tls={registry.host: "on"}))
    assert "client.key" in e.value.remedy


async def test_a_broken_authority_file_is_an_error(tmp_path):
    async with Scripted() as registry:
        (tmp_path / "bad").write_text(
            "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"
        )
        places = certs_d(tmp_path, registry.host, ca_crt=tmp_path / "bad")
        with pytest.raises(ConfigError):
            await ping(registry, Hosts({}, places=places, tls={registry.host: "on"}))


async def test_tls_to_a_plain_registry_says_so():
    async with Scripted(ordered=False) as registry:
        hosts = Hosts({}, places=Places(), tls={registry.host: "on"})

        class Plain(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport

            def data_received(self, data):
                self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                self.transport.close()

        server = await asyncio.get_running_loop().create_server(Plain, "127.0.0.1", 0)
        host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with client(registry, hosts=hosts) as c:
            hosts._tls[host] = "on"
            with pytest.raises(TLSError) as e:
                await c.registry(host).ping()
        server.close()
    assert 'tls = "off"' in e.value.remedy


async def test_a_plain_registry_on_loopback_needs_no_setting():
    async with Scripted([PING, PING]) as registry:
        await ping(registry, Hosts({}, places=Places()))


async def test_a_tls_registry_on_loopback_needs_no_setting(certs):
    async with Scripted([PING, PING], tls=server_tls(certs)) as registry:
        await ping(registry, Hosts({}, places=Places()))


def test_hosts_elsewhere_are_reached_by_tls():
    (endpoint,) = Hosts({}, places=Places()).endpoints("registry.example")
    assert endpoint.url == "https://registry.example/v2"
    assert Hosts({}, places=Places()).trust(endpoint.url).verify


def test_docker_hub_is_at_its_own_host():
    (endpoint,) = Hosts({}, places=Places()).endpoints("docker.io")
    assert endpoint.url == "https://registry-1.docker.io/v2"


def test_our_hosts_file_sets_tls_per_host(tmp_path):
    file = tmp_path / "hosts.toml"
    file.write_text('[host."a.test"]\ntls = "off"\n[host."b.test:5000"]\ntls = "insecure"\n')
    hosts = Hosts({}, places=Places(settings=(str(file),)))
    assert hosts.endpoints("a.test")[-1].url == "http://a.test/v2"
    assert not hosts.trust("https://b.test:5000/v2").verify
    assert hosts.trust("https://b.test/v2").verify


def test_a_flag_overrides_the_hosts_file(tmp_path):
    file = tmp_path / "hosts.toml"
    file.write_text('[host."a.test"]\ntls = "off"\n')
    hosts = Hosts({}, places=Places(settings=(str(file),)), tls={"a.test": "on"})
    assert hosts.endpoints("a.test")[-1].url == "https://a.test/v2"


@pytest.mark.parametrize("text", ["= 1", '[host."a.test"]\ntls = "maybe"\n', "\x00"])
def test_a_hosts_file_that_cannot_be_used_is_an_error(tmp_path, text):
    file = tmp_path / "hosts.toml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        Hosts({}, places=Places(settings=(str(file),))).endpoints("a.test")


# --- mirrors


def mirrored(folder: Path, registry: str, text: str) -> Places:
    (folder / registry).mkdir(parents=True)
    (folder / registry / "hosts.toml").write_text(text)
    return Places(certs=(str(folder),))


def manifest_steps(reply=None):
    reply = reply or manifest_reply(M, MANIFEST)
    return [
        Step("HEAD", "/v2/a/b/manifests/v1", reply),
        Step("GET", f"/v2/a/b/manifests/{M.digest}", reply),
    ]


async def test_mirrors_are_asked_in_order_and_the_registry_last(tmp_path):
    one = Scripted([Step(m.method, m.path, Reply(404)) for m in manifest_steps()])
    async with one, Scripted(manifest_steps()) as two, Scripted() as home:
        places = mirrored(
            tmp_path, home.host, f'server = "{home.url}"\n[host."{one.url}"]\n[host."{two.url}"]\n'
        )
        async with client(home, hosts=Hosts({}, places=places)) as c:
            repository = c.repository(REPO(home))
            assert await read(repository, await repository.resolve("v1")) == MANIFEST


@pytest.mark.parametrize(
    "trouble", [Reply(404), refusal(401, "UNAUTHORIZED"), refusal(500, "X"), Reply(hang_up=True)]
)
async def test_a_mirror_in_trouble_is_passed_over(tmp_path, trouble):
    rules = [
        Step("HEAD", "/v2/a/b/manifests/v1", trouble),
        Step("GET", r"/v2/a/b/manifests/.*", trouble, pattern=True),
    ]
    async with Scripted(rules, ordered=False) as mirror, Scripted(manifest_steps()) as home:
        places = mirrored(tmp_path, home.host, f'server = "{home.url}"\n[host."{mirror.url}"]\n')
        async with client(home, hosts=Hosts({}, places=places), retries=1) as c:
            repository = c.repository(REPO(home))
            assert await read(repository, await repository.resolve("v1")) == MANIFEST


async def test_a_dead_mirror_is_passed_over(tmp_path):
    async with Scripted() as gone:
        pass
    async with Scripted([Step("GET", f"/v2/a/b/blobs/{DESC.digest}", Reply(200, DATA))]) as home:
        places = mirrored(tmp_path, home.host, f'server = "{home.url}"\n[host."{gone.url}"]\n')
        async with client(home, hosts=Hosts({}, places=places)) as c:
            assert await read(c.repository(REPO(home)), DESC) == DATA


async def test_a_mirror_that_fails_is_not_waited_for_and_an_unreachable_one_rests(tmp_path):
    events = []
    blob_path = f"/v2/a/b/blobs/{DESC.digest}"
    failing = [Step("GET", blob_path, refusal(503, "X"))] * 2
    silent = [Step("GET", blob_path, Reply(hang_up=True))]
    home_steps = [Step("GET", blob_path, Reply(200, DATA))] * 2
    async with Scripted(failing) as one, Scripted(silent) as two, Scripted(home_steps) as home:
        text = f'server = "{home.url}"\n[host."{one.url}"]\n[host."{two.url}"]\n'
        hosts = Hosts({}, places=mirrored(tmp_path, home.host, text))
        async with client(home, hosts=hosts, report=events.append) as c:
            assert await read(c.repository(REPO(home)), DESC) == DATA
            assert await read(c.repository(REPO(home)), DESC) == DATA
    assert events == []


async def test_a_mirror_without_resolve_is_asked_for_digests_only(tmp_path):
    head, get = manifest_steps()
    async with Scripted([get]) as mirror, Scripted([head]) as home:
        places = mirrored(
            tmp_path,
            home.host,
            f'server = "{home.url}"\n[host."{mirror.url}"]\ncapabilities = ["pull"]\n',
        )
        async with client(home, hosts=Hosts({}, places=places)) as c:
            repository = c.repository(REPO(home))
            assert await read(repository, await repository.resolve("v1")) == MANIFEST


async def test_what_no_mirror_has_is_the_registrys_not_found(tmp_path):
    steps = [Step("HEAD", "/v2/a/b/manifests/v1", Reply(404))]
    async with Scripted(steps) as mirror, Scripted(steps) as home:
        places = mirrored(tmp_path, home.host, f'server = "{home.url}"\n[host."{mirror.url}"]\n')
        async with client(home, hosts=Hosts({}, places=places)) as c:
            with pytest.raises(NotFound) as e:
                await c.repository(REPO(home)).resolve("v1")
    assert home.host in e.value.summary


async def test_a_mirror_is_never_written_to_nor_asked_what_is_there(tmp_path):
    steps = [
        Step("HEAD", f"/v2/a/b/manifests/{M.digest}", Reply(404)),
        Step("PUT", f"/v2/a/b/manifests/{M.digest}", Reply(201)),
    ]
    async with Scripted() as mirror, Scripted(steps) as home:
        places = mirrored(tmp_path, home.host, f'server = "{home.url}"\n[host."{mirror.url}"]\n')
        async with client(home, hosts=Hosts({}, places=places)) as c:
            from argosy.content.store import put_bytes

            repository = c.repository(REPO(home))
            assert not await repository.exists(M)
            await put_bytes(repository, M, MANIFEST)


async def test_a_mirrors_path_headers_and_host_credentials_are_its_own(tmp_path):
    challenge = refusal(401, "UNAUTHORIZED", www_authenticate="Basic realm=x")
    path = f"/proxy/hub/a/b/blobs/{DESC.digest}"
    steps = [Step("GET", path, challenge), Step("GET", path, Reply(200, DATA))]
    async with Scripted(steps) as mirror, Scripted() as home:
        import base64
        import json

        auth = {
            h.host: {"auth": base64.b64encode(f"{n}:p".encode()).decode()}
            for n, h in [("m", mirror), ("h", home)]
        }
        file = tmp_path / "auth.json"
        file.write_text(json.dumps({"auths": auth}))
        places = mirrored(
            tmp_path / "c",
            home.host,
            f'server = "{home.url}"\n[host."{mirror.url}/proxy/hub"]\noverride_path = true\n'
            f'[host."{mirror.url}/proxy/hub".header]\nX-One = "1"\nX-Two = ["2", "3"]\n',
        )
        from argosy.stores.remote.credentials import Credentials

        async with client(
            home, hosts=Hosts({}, places=places), credentials=Credentials({}, authfile=str(file))
        ) as c:
            assert await read(c.repository(REPO(home)), DESC) == DATA
    sent = mirror.seen[1].headers
    assert base64.b64decode(sent["authorization"].removeprefix("Basic ")) == b"m:p"
    assert (sent["x-one"], sent["x-two"]) == ("1", "2, 3")


async def test_a_mirror_with_its_own_authority(certs, tmp_path):
    steps = [Step("GET", f"/v2/a/b/blobs/{DESC.digest}", Reply(200, DATA))]
    async with Scripted(steps, tls=server_tls(certs)) as mirror, Scripted() as home:
        places = mirrored(
            tmp_path,
            home.host,
            f'server = "{home.url}"\n[host."{mirror.url}"]\nca = "{certs / "ca.pem"}"\n',
        )
        hosts = Hosts({}, places=places, tls={mirror.host: "on"})
        async with client(home, hosts=hosts) as c:
            assert await read(c.repository(REPO(home)), DESC) == DATA


def test_default_mirrors_serve_hosts_without_a_file_of_their_own(tmp_path):
    places = mirrored(tmp_path, "_default", '[host."https://mirror.test"]\n')
    urls = [e.url for e in Hosts({}, places=places).endpoints("r.test")]
    assert urls == ["https://mirror.test/v2", "https://r.test/v2"]


# --- proxies


def proxy(url, **environ):
    return Hosts(environ, places=Places()).trust(url).proxy


def test_proxies_come_from_the_environment():
    assert proxy("https://r.test/v2", HTTPS_PROXY="http://p:3128") == "http://p:3128"
    assert proxy("http://r.test/v2", HTTPS_PROXY="http://p:3128") == ""
    assert proxy("http://r.test/v2", http_proxy="p:3128") == "http://p:3128"
    assert proxy("http://r.test/v2", ALL_PROXY="http://p:1") == "http://p:1"
    assert proxy("http://r.test/v2", HTTP_PROXY="http://p:1", REQUEST_METHOD="GET") == ""


@pytest.mark.parametrize(
    ("rule", "host", "bypassed"),
    [
        ("r.test", "r.test", True),
        ("r.test", "sub.r.test", True),
        (".r.test", "sub.r.test", True),
        ("*.r.test", "sub.r.test", True),
        ("r.test", "xr.test", False),
        ("*", "any.test", True),
        ("other,r.test", "r.test", True),
        ("r.test:5000", "r.test:5000", True),
        ("r.test:5001", "r.test:5000", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "r.test", False),
        ("", "127.0.0.1:5000", True),
        ("", "localhost", True),
    ],
)
def test_no_proxy_rules(rule, host, bypassed):
    found = proxy(f"http://{host}/v2", HTTP_PROXY="http://p:1", NO_PROXY=rule)
    assert (found == "") is bypassed


def test_dockers_proxies_are_used_when_the_environment_has_none(tmp_path):
    file = tmp_path / "config.json"
    file.write_text('{"proxies": {"default": {"httpsProxy": "http://d:1", "noProxy": "n.test"}}}')
    places = Places(docker_config=str(file))
    assert Hosts({}, places=places).trust("https://r.test/").proxy == "http://d:1"
    assert Hosts({}, places=places).trust("https://n.test/").proxy == ""
    environ = {"HTTPS_PROXY": "http://e:1"}
    assert Hosts(environ, places=places).trust("https://r.test/").proxy == "http://e:1"


async def test_a_proxy_is_really_gone_through():
    steps = [Step("GET", "http://far.test/v2/", Reply(200))]
    async with Scripted(steps) as proxy_server:
        proxy_server.steps[0] = Step("GET", "/v2/", Reply(200))
        hosts = Hosts({"HTTP_PROXY": proxy_server.url}, places=Places(), tls={"far.test": "off"})
        async with client(proxy_server, hosts=hosts) as c:
            await c.registry("far.test").ping()
    assert proxy_server.seen[0].target == "http://far.test/v2/"


def test_a_reference_to_an_unknown_host_is_only_tried_when_used():
    assert Reference.parse("nowhere.test/x").registry == "nowhere.test"


# --- containers' registries.conf


def conf(tmp_path, text, name="registries.conf"):
    file = tmp_path / name
    file.write_text(text)
    return Places(registries=(str(file),))


def test_an_insecure_registry_of_containers_is_tried_by_tls_first(tmp_path):
    places = conf(tmp_path, '[[registry]]\nlocation = "r.test:5000"\ninsecure = true\n')
    (endpoint,) = Hosts({}, places=places).endpoints("r.test:5000")
    assert (endpoint.url, endpoint.tls) == ("https://r.test:5000/v2", "auto")
    assert not Hosts({}, places=places).trust(endpoint.url).verify
    assert Hosts({}, places=places).tls("other.test") == "on"


def test_mirrors_of_containers_come_first_and_are_never_written_to(tmp_path):
    text = """
    unqualified-search-registries = ["docker.io"]
    [[registry]]
    prefix = "docker.io"
    location = "registry.example"
    [[registry.mirror]]
    location = "m1.test/hub"
    [[registry.mirror]]
    location = "m2.test"
    pull-from-mirror = "digest-only"
    insecure = true
    """
    hosts = Hosts({}, places=conf(tmp_path, text))
    one, two, own = hosts.endpoints("docker.io")
    assert (one.url, one.capabilities) == ("https://m1.test/v2/hub", {"pull", "resolve"})
    assert (two.url, two.tls, two.capabilities) == ("https://m2.test/v2", "auto", {"pull"})
    assert own.url == "https://registry.example/v2"


def test_a_blocked_registry_is_refused_with_the_file(tmp_path):
    places = conf(tmp_path, '[[registry]]\nprefix = "*.bad.test"\nblocked = true\n')
    with pytest.raises(ConfigError) as e:
        Hosts({}, places=places).endpoints("x.bad.test")
    assert str(tmp_path / "registries.conf") in e.value.why


@pytest.mark.parametrize(
    "text", ["[[registry]]\nlocation = ", "[[registry]]\nregistry = 1\n[registry]"]
)
def test_a_registries_conf_that_cannot_be_read_is_named(tmp_path, text):
    with pytest.raises(ConfigError) as e:
        Hosts({}, places=conf(tmp_path, text)).endpoints("r.test")
    assert "registries.conf" in e.value.summary


def test_a_drop_in_file_replaces_an_earlier_entry(tmp_path):
    first = conf(tmp_path, '[[registry]]\nlocation = "r.test"\ninsecure = true\n', "a")
    later = conf(tmp_path, '[[registry]]\nlocation = "r.test"\n', "b")
    places = Places(registries=(*first.registries, *later.registries, "/nowhere"))
    assert Hosts({}, places=places).tls("r.test") == "on"


def test_the_users_registries_conf_replaces_the_machines(tmp_path):
    own = tmp_path / "containers/registries.conf"
    own.parent.mkdir()
    own.write_text("")
    assert str(own) in Places.of({"XDG_CONFIG_HOME": str(tmp_path), "HOME": "/none"}).registries
    chosen = Places.of({"CONTAINERS_REGISTRIES_CONF": "/x", "HOME": "/none"}).registries
    assert chosen == ("/x",)


async def test_an_insecure_registry_without_tls_is_found_after_tls_failed():
    class Plain(asyncio.Protocol):
        """Answers GET; tells a TLS hello that it is none, as HTTP servers do."""

        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            status = b"200 OK" if data.startswith(b"GET /v2/") else b"400 Bad Request"
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
            if b"400" in status:
                self.transport.close()

    class Insecure(Hosts):
        def endpoints(self, registry):
            return [Endpoint(url=f"https://{registry}/v2", host=registry, tls="auto")]

    server = await asyncio.get_running_loop().create_server(Plain, "127.0.0.1", 0)
    host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with Scripted() as nobody, client(nobody, hosts=Insecure({}, places=Places())) as c:
        await c.registry(host).ping()
    server.close()
