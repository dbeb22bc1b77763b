"""ADD of files of the web: what arrives, what is asked again, and what is refused."""

import hashlib
import os
import stat

import pytest

from argosy.build.pipeline import BuildOptions, Ends, Secret, build
from argosy.errors import ArgosyError, BuildError, DigestMismatch
from argosy.settings import Settings
from argosy.stores.remote.client import Client
from tests.scripted import Reply, Scripted, Step

BODY = b"content of a file\n" * 100
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
SHA = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


async def add(bench, words, **options):
    """Build one ADD; the directory of its result."""
    context = bench.context({"Dockerfile": f"FROM scratch\nADD {words}\n"})
    settings = Settings(home=bench.settings.home, retries=1, retry_wait=0.001)
    bench.events.clear()
    async with Client(settings, report=bench.events.append) as client:
        ends = Ends(
            images=bench.images,
            repository=bench.repository,
            archive=bench.archive,
            fetch=client.web(),
        )
        await build(
            BuildOptions(context=context, tags=("a:1",), **options),
            settings=settings,
            ends=ends,
            engine=bench.engine,
            report=bench.events.append,
        )
    found = [n for n in os.listdir(bench.snapshots.path) if n.startswith("snapshot-")]
    newest = max(found, key=lambda n: int(n.rpartition("-")[2]))
    return os.path.join(bench.snapshots.path, newest)


def content(path):
    with open(path, "rb") as file:
        return file.read()


async def test_a_file_arrives_with_its_name_mode_and_time(bench):
    reply = Reply(200, BODY, {"Last-Modified": DATE})
    async with Scripted([Step("GET", "/d/file%20one", reply)]) as server:
        root = await add(bench, f'["{server.url}/d/file%20one?token=x", "/into/"]')
    found = os.stat(f"{root}/into/file one")
    assert content(f"{root}/into/file one") == BODY
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert (found.st_uid, found.st_gid, found.st_mtime) == (0, 0, 1445412480)


async def test_without_a_date_a_file_is_from_1970_and_flags_are_heeded(bench):
    async with Scripted([Step("GET", "/f", Reply(200, BODY))]) as server:
        root = await add(bench, f"--chmod=755 --chown=1:2 {server.url}/f /g")
    found = os.stat(f"{root}/g")
    assert stat.S_IMODE(found.st_mode) == 0o755
    assert (found.st_uid, found.st_gid, found.st_mtime) == (1, 2, 0)


async def test_an_unchanged_file_is_asked_about_and_not_sent_again(bench):
    def answer(seen):
        tagged = {"ETag": '"one"'}
        known = seen.headers.get("if-none-match") == '"one"'
        return Reply(304, b"", tagged) if known else Reply(200, BODY, tagged)

    async with Scripted([Step("GET", "/f", answer)] * 2) as server:
        await add(bench, f"{server.url}/f /")
        await add(bench, f"{server.url}/f /")
        assert len(server.seen) == 2
    assert bench.lines("cached") == [f"[stage-0 1/1] ADD {server.url}/f /"]
    assert not [e for e in bench.events if "download" in e.name]


async def test_a_changed_file_is_sent_and_the_step_runs(bench):
    replies = [Reply(200, b"one", {"ETag": '"1"'}), Reply(200, b"two", {"ETag": '"2"'})]
    async with Scripted([Step("GET", "/f", r) for r in replies]) as server:
        assert content(f"{await add(bench, f'{server.url}/f /')}/f") == b"one"
        assert content(f"{await add(bench, f'{server.url}/f /')}/f") == b"two"


async def test_with_a_checksum_a_known_file_needs_no_request_at_all(bench):
    async with Scripted([Step("GET", "/f", Reply(200, BODY))]) as server:
        await add(bench, f"--checksum={SHA} {server.url}/f /")
        await add(bench, f"--checksum={SHA} {server.url}/f /")
        await add(bench, f"--checksum={SHA} {server.url}/f /elsewhere")  # another step, same file


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
async def test_every_kind_of_checksum_is_checked(bench, algorithm):
    right = f"{algorithm}:{hashlib.new(algorithm, BODY).hexdigest()}"
    wrong = f"{algorithm}:{hashlib.new(algorithm, b'x').hexdigest()}"
    async with Scripted([Step("GET", "/f", Reply(200, BODY))] * 2) as server:
        root = await add(bench, f"--checksum={right} {server.url}/f /")
        assert content(f"{root}/f") == BODY
        with pytest.raises(DigestMismatch, match="expected digest") as caught:
            await add(bench, f"--checksum={wrong} {server.url}/f /")
    assert caught.value.actual == right
    assert caught.value.evidence["line"] == 2


async def test_archives_stay_packed_unless_unpacking_is_asked_for(bench):
    import io
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        info = tarfile.TarInfo("inner/file")
        info.size = 2
        tar.addfile(info, io.BytesIO(b"hi"))
    reply = Reply(200, out.getvalue())
    async with Scripted([Step("GET", "/a.tgz", reply)] * 2) as server:
        root = await add(bench, f"{server.url}/a.tgz /x/")
        assert content(f"{root}/x/a.tgz") == out.getvalue()
        root = await add(bench, f"--unpack {server.url}/a.tgz /x/")
        assert content(f"{root}/x/inner/file") == b"hi"


async def test_several_sources_come_together(bench):
    steps = [Step("GET", "/a", Reply(200, b"a")), Step("GET", "/b", Reply(200, b"b"))]
    async with Scripted(steps, ordered=False) as server:
        root = await add(bench, f"{server.url}/a {server.url}/b Dockerfile /x/")
    assert sorted(os.listdir(f"{root}/x")) == ["Dockerfile", "a", "b"]


async def test_redirects_are_followed_without_the_credentials_for_elsewhere(bench):
    async with Scripted([Step("GET", "/real", Reply(200, BODY))]) as other:
        moved = Reply(302, b"", {"Location": f"{other.url}/real"})
        async with Scripted([Step("GET", "/f", moved)]) as server:
            url = server.url.replace("://", "://user:secret@")
            root = await add(bench, f"{url}/f /")
            assert server.seen[0].headers["authorization"].startswith("Basic ")
        assert "authorization" not in other.seen[0].headers
    assert content(f"{root}/f") == BODY
    assert "secret" not in "".join(e.text + e.key for e in bench.events)


async def test_a_secret_is_the_token_for_its_host(bench, tmp_path):
    token = tmp_path / "token"
    token.write_text("abc\n")
    secret = Secret(id="HTTP_AUTH_TOKEN_127.0.0.1", file=str(token))
    async with Scripted([Step("GET", "/f", Reply(200, BODY))]) as server:
        await add(bench, f"{server.url}/f /", secrets=(secret,))
        assert server.seen[0].headers["authorization"] == "Bearer abc"


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(404), "404 Not Found"),
        (Reply(401), "401 Unauthorized"),
        (Reply(200, BODY, cut=10), "broke|not whole"),
        (Reply(200, BODY, length=len(BODY) + 5, cut=len(BODY)), "broke|not whole"),
        (Reply(302, b"", {"Location": "file:///etc/passwd"}), "refused"),
        (Reply(302, b"", {"Location": "/f"}), "redirects"),
    ],
)
async def test_what_a_server_does_wrong_is_said_with_the_line(bench, reply, words):
    async with Scripted([Step("GET", "/f", reply)], ordered=False) as server:
        with pytest.raises(BuildError, match="cannot download") as caught:
            await add(bench, f"{server.url}/f?token=secret /")
    assert __import__("re").search(words, caught.value.why)
    assert caught.value.evidence["line"] == 2
    assert "token=secret" not in str(caught.value.to_json())


async def test_what_may_pass_is_tried_again(bench):
    steps = [Step("GET", "/f", Reply(503)), Step("GET", "/f", Reply(200, BODY))]
    async with Scripted(steps) as server:
        assert content(f"{await add(bench, f'{server.url}/f /')}/f") == BODY


@pytest.mark.parametrize("path", ["/a%00b", "/a%0Ab", "/" + "x" * 300])
async def test_a_name_that_no_file_can_have_is_refused_without_asking(bench, path):
    async with Scripted() as server:
        with pytest.raises(ArgosyError, match="cannot be that of a file"):
            await add(bench, f"{server.url}{path} /")


@pytest.mark.parametrize("path", ["", "/", "/a/..%2F", "/."])
async def test_a_url_without_a_name_is_called_as_buildkit_calls_it(bench, path):
    async with Scripted([Step("GET", ".*", Reply(200, BODY), pattern=True)]) as server:
        root = await add(bench, f"{server.url}{path} /x/")
    assert os.listdir(f"{root}/x")[0] in ("__unnamed__", "a")
    assert content(f"{root}/x/{os.listdir(f'{root}/x')[0]}") == BODY


async def test_what_is_remembered_of_a_url_does_not_hold_its_secrets(bench):
    async with Scripted([Step("GET", "/f", Reply(200, BODY, {"ETag": '"1"'}))]) as server:
        await add(bench, f"{server.url}/f?signature=secret /x")
    held = b""
    for folder, _, files in os.walk(os.path.join(bench.settings.home, "build", "downloads")):
        held += folder.encode() + b"".join(content(os.path.join(folder, f)) for f in files)
    assert b"secret" not in held
