"""ADD of git repositories, served by git over loopback."""

import glob
import os
import shutil
import subprocess

import pytest

from argosy.build.pipeline import BuildOptions, Secret, build
from argosy.errors import ArgosyError, BuildError, ConfigError, DigestMismatch

from .conftest import http_backend, token_header

pytestmark = pytest.mark.slow


async def add(bench, words, **options):
    """Build one ADD; the directory of its result."""
    context = bench.context({"Dockerfile": f"FROM scratch\nADD {words}\n"})
    bench.events.clear()
    await build(
        BuildOptions(context=context, tags=("a:1",), **options),
        settings=bench.settings,
        ends=bench.ends,
        engine=bench.engine,
        report=bench.events.append,
    )
    found = [n for n in os.listdir(bench.snapshots.path) if n.startswith("snapshot-")]
    newest = max(found, key=lambda n: int(n.rpartition("-")[2]))
    return os.path.join(bench.snapshots.path, newest)


def fetched(bench):
    return [e.name for e in bench.events if e.kind == "done" and e.name.startswith("fetch ")]


def text(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


async def test_the_files_of_a_branch_tag_or_commit_arrive_without_git(bench, daemon):
    repository = daemon.repository()
    first = repository.commit({"f": "1"})
    repository.git("tag", "-a", "v1", "-m", "v1")
    repository.commit({"f": "2"})
    for ref, found in (("", "2"), ("#main", "2"), ("#v1", "1"), (f"#{first}", "1")):
        root = await add(bench, f"{daemon.url}/x.git{ref} /r")
        assert text(root, "r/f") == found
        assert os.listdir(f"{root}/r") == ["f"]
    assert os.stat(f"{root}/r/f").st_mtime == 1577836800  # the commit's time


async def test_an_unchanged_repository_is_asked_and_nothing_is_fetched(bench, daemon):
    repository = daemon.repository()
    repository.commit({"f": "1"})
    await add(bench, f"{daemon.url}/x.git /r")
    assert len(fetched(bench)) == 1
    await add(bench, f"{daemon.url}/x.git /r")
    assert (bench.lines("cached"), fetched(bench)) == (
        [f"[stage-0 1/1] ADD {daemon.url}/x.git /r"],
        [],
    )
    repository.commit({"f": "2"})
    assert text(await add(bench, f"{daemon.url}/x.git /r"), "r/f") == "2"
    assert len(fetched(bench)) == 1


async def test_only_a_directory_of_it_can_be_taken(bench, daemon):
    repository = daemon.repository()
    os.symlink("/etc", f"{repository.path}/out")
    repository.commit({"a/b/f": "1", "g": "2"})
    root = await add(bench, f"{daemon.url}/x.git#main:a/b /r")
    assert os.listdir(f"{root}/r") == ["f"]
    for path in ("nope", "g", "out"):
        with pytest.raises(BuildError, match=f"there is no directory {path}"):
            await add(bench, f"{daemon.url}/x.git#:{path} /r")


async def test_a_kept_git_directory_is_the_same_every_time_and_works(bench, daemon):
    repository = daemon.repository()
    repository.commit({"f": "1", "d/g": "2"})
    roots = []
    for dest in ("/one", "/two"):
        root = await add(bench, f"--keep-git-dir {daemon.url}/x.git#main {dest}")
        roots.append(root + dest)
    status = ["git", "-c", "safe.directory=*", "-C", roots[0], "status", "--porcelain"]
    assert subprocess.run(status, capture_output=True, check=True).stdout == b""
    shutil.copytree(roots[0], roots[0] + "-copy")  # git status wrote its index
    os.remove(f"{roots[0]}/.git/index")
    os.remove(f"{roots[1]}/.git/index")
    same = subprocess.run(["diff", "-r", *roots], capture_output=True, check=False)
    assert same.stdout == b""
    assert bench.settings.home not in text(roots[1], ".git/config")


async def test_submodules_come_along_unless_they_are_not_wanted(bench, daemon):
    daemon.repository("inner.git").commit({"i": "1"})
    repository = daemon.repository()
    repository.git("submodule", "--quiet", "add", f"{daemon.url}/inner.git", "sub")
    repository.commit({"f": "1"})
    root = await add(bench, f"{daemon.url}/x.git /r")
    assert os.listdir(f"{root}/r/sub") == ["i"]
    root = await add(bench, f"{daemon.url}/x.git?submodules=false /r")
    assert os.listdir(f"{root}/r/sub") == []


async def test_a_submodule_of_this_machine_is_refused(bench, daemon, tmp_path):
    inner = daemon.repository("inner.git")
    inner.commit({"i": "secret"})
    repository = daemon.repository()
    repository.git("submodule", "--quiet", "add", inner.path, "sub")
    repository.commit({"f": "1"})
    with pytest.raises(BuildError, match="submodules"):
        await add(bench, f"{daemon.url}/x.git /r")


async def test_repositories_of_sha256_are_read(bench, daemon):
    commit = daemon.repository(form="sha256").commit({"f": "1"})
    assert len(commit) == 64
    assert text(await add(bench, f"{daemon.url}/x.git#main /r"), "r/f") == "1"
    assert text(await add(bench, f"{daemon.url}/x.git#{commit} /s"), "s/f") == "1"


async def test_a_commit_as_checksum_is_checked(bench, daemon):
    commit = daemon.repository().commit({"f": "1"})
    await add(bench, f"--checksum={commit[:10]} {daemon.url}/x.git#main /r")
    with pytest.raises(DigestMismatch, match="expected digest 1234567") as caught:
        await add(bench, f"--checksum=1234567 {daemon.url}/x.git#main /r")
    assert caught.value.evidence["line"] == 2


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("x.git#nope", "has no branch or tag 'nope'"),
        ("x.git#" + "a" * 40, "has no commit a{40}|cannot fetch"),
        ("other.git", "cannot ask"),
    ],
)
async def test_what_is_not_there_is_said(bench, daemon, ref, words):
    daemon.repository().commit({"f": "1"})
    with pytest.raises(BuildError, match=words) as caught:
        await add(bench, f"{daemon.url}/{ref} /r")
    assert caught.value.evidence["line"] == 2


async def test_a_damaged_mirror_is_fetched_anew(bench, daemon):
    daemon.repository().commit({"f": "1" * 100})
    await add(bench, f"{daemon.url}/x.git /r")
    objects = glob.glob(f"{bench.settings.home}/build/git/*/objects/??/*")
    assert objects
    for path in objects:
        os.chmod(path, 0o600)
        with open(path, "wb") as file:
            file.write(b"damage")
    assert text(await add(bench, f"{daemon.url}/x.git /elsewhere"), "elsewhere/f") == "1" * 100


async def test_locks_of_a_killed_git_do_not_stop_a_build(bench, daemon):
    repository = daemon.repository()
    repository.commit({"f": "1"})
    await add(bench, f"{daemon.url}/x.git /r")
    (mirror,) = glob.glob(f"{bench.settings.home}/build/git/*-40")
    open(f"{mirror}/shallow.lock", "w").close()
    repository.commit({"f": "2"})
    assert text(await add(bench, f"{daemon.url}/x.git /r"), "r/f") == "2"


async def test_nothing_configured_here_or_in_the_repository_is_run(bench, daemon, monkeypatch):
    home = os.path.join(bench.path, "user")
    os.makedirs(f"{home}/hooks")
    with open(f"{home}/.gitconfig", "w") as file:
        file.write(f'[core]\nhooksPath={home}/hooks\n[filter "evil"]\nsmudge=touch {home}/ran\n')
        file.write(f'[url "file:///"]\ninsteadOf = {daemon.url}\n')
    with open(f"{home}/hooks/post-checkout", "w") as file:
        file.write(f"#!/bin/sh\ntouch {home}/ran\n")
    os.chmod(f"{home}/hooks/post-checkout", 0o755)
    monkeypatch.setenv("HOME", home)
    monkeypatch.setenv("GIT_DIR", "/nonsense")
    daemon.repository().commit({"f": "1", ".gitattributes": "* filter=evil\n"})
    assert text(await add(bench, f"{daemon.url}/x.git /r"), "r/f") == "1"
    assert not os.path.exists(f"{home}/ran")


async def test_a_token_opens_a_private_repository_and_is_seen_nowhere(bench, tmp_path):
    (tmp_path / "repositories").mkdir()
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    with http_backend(tmp_path / "repositories", token_header("s3cret")) as (served, _):
        served.repository().commit({"f": "1"})
        with pytest.raises(BuildError, match="cannot ask") as caught:
            await add(bench, f"{served.url}/x.git /r")
        assert "GIT_AUTH_TOKEN" in caught.value.remedy
        for name in ("GIT_AUTH_TOKEN", "GIT_AUTH_TOKEN.127.0.0.1"):
            secret = Secret(id=name, file=str(token))
            words = f"--keep-git-dir {served.url}/x.git /{name}"
            root = await add(bench, words, secrets=(secret,))
            assert text(root, name, "f") == "1"
    places = [root, os.path.join(bench.settings.home, "build")]
    assert subprocess.run(["grep", "-rqE", "s3cret|czNjcmV0", *places], check=False).returncode == 1


async def test_a_password_in_the_url_is_not_kept_in_the_image(bench, tmp_path):
    (tmp_path / "repositories").mkdir()
    with http_backend(tmp_path / "repositories", "basic dTpwNHNz") as (served, asked):
        served.repository().commit({"f": "1"})
        url = served.url.replace("://", "://u:p4ss@")
        root = await add(bench, f"--keep-git-dir {url}/x.git /r")
    assert text(root, "r/f") == "1"
    assert "p4ss" not in text(root, "r/.git/config")
    assert asked


async def test_without_git_the_error_names_the_package(bench, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match="need the program git") as caught:
        await add(bench, "git://127.0.0.1:1/x.git /r")
    assert "apt-get install --yes git" in caught.value.remedy


async def test_ssh_without_an_agent_says_how_to_give_the_keys(bench):
    with pytest.raises(ArgosyError, match="cannot ask"):
        await add(bench, "ssh://git@127.0.0.1:1/x.git /r")
