"""COPY, ADD and WORKDIR against Docker's own builder: the same file tree, to the last bit of metadata."""

import os
import stat
import tarfile

import pytest

from tests.peers import argosy

pytestmark = [pytest.mark.peer, pytest.mark.root]

DOCKERFILE = """\
FROM scratch AS source
COPY tree /tree
COPY --chown=5:6 tree/a /owned/by/others
WORKDIR /made/by/workdir

FROM scratch
COPY accounts /etc/
COPY tree /whole
COPY tree/ /whole-slash/
COPY tree/a /file
COPY tree/a /dir/
COPY tree/a tree/b /two/
COPY tree/*.txt /wild/
COPY tree/? /one-letter/
COPY tree/sub /merge
COPY tree/sub2 /merge
COPY tree/link-to-file /followed
COPY tree/link-to-dir /followed-dir
COPY --chown=7:8 tree/sub /numbers/deep/x
COPY --chown=7 tree/a /number
COPY --chown=app tree/a /name
COPY --chown=app:staff tree/sub /names
COPY --chmod=711 tree/sub2 /modes
COPY --chown=9:9 tree/sub2 /modes-and/more
COPY tree/sub/deep /setgid
COPY tree/empty /empty
COPY nothing*.here /nothing/
COPY tree/archive.tgz /made/once.tgz
COPY tree/sub /merge/deep/
COPY --chmod=0600 tree/a /mode
COPY --from=source /tree /from-stage
COPY --from=source /owned /from-stage-owned
COPY --from=source /made /from-stage-made
ADD tree/archive.tgz /unpacked/
ADD tree/plain.tar /unpacked-plain
ADD tree/a /added/
COPY tree/archive.tgz /not-unpacked/
WORKDIR /w/x/y
COPY tree/a relative
COPY tree/a ./
WORKDIR z
COPY tree/b .
"""


@pytest.fixture
def context(tmp_path):
    top = tmp_path / "context"
    for path, text in {
        "accounts/passwd": "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\n",
        "accounts/group": "root:x:0:\nstaff:x:50:\n",
        "tree/a": "A",
        "tree/b": "B",
        "tree/c.txt": "C",
        "tree/d.txt": "D",
        "tree/ignored.txt": "hidden",
        "tree/sub/e": "E",
        "tree/sub/deep/f": "F",
        "tree/sub2/e": "E2",
        "tree/sub2/deep/g": "G",
        "tree/with space/é": "unicode",
        ".dockerignore": "tree/ignored.txt\n**/*.no\n!**/keep.no\n",
        "tree/x.no": "",
        "tree/keep.no": "kept",
    }.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)
    tree = top / "tree"
    os.symlink("a", tree / "link-to-file")
    os.symlink("sub", tree / "link-to-dir")
    os.symlink("/nowhere/at/all", tree / "sub" / "dangling")
    os.link(tree / "a", tree / "hard")
    os.chmod(tree / "b", 0o4755)
    os.chmod(tree / "sub" / "deep", 0o2750)
    os.chown(tree / "sub" / "e", 1234, 4321)
    os.mkfifo(tree / "sub" / "fifo")
    (tree / "empty").mkdir(mode=0o700)
    for kind, name in (("w:gz", "archive.tgz"), ("w", "plain.tar")):
        with tarfile.open(tree / name, kind) as tar:
            info = tar.gettarinfo(tree / "b", "in/side")
            info.uid, info.gid = 77, 88
            with (tree / "b").open("rb") as f:
                tar.addfile(info, f)
    (top / "Dockerfile").write_text(DOCKERFILE)
    for folder, directories, files in os.walk(top):
        for name in directories + files:
            os.utime(os.path.join(folder, name), (10**9, 10**9), follow_symlinks=False)
    return top


def listing(path):
    """Everything a tar says about each path; a hard link as what it is linked to."""
    found = {}
    with tarfile.open(path) as tar:
        for member in tar:
            body = tar.extractfile(member).read() if member.isfile() or member.islnk() else b""
            kind = "file" if member.islnk() else member.type.decode()
            kind = "file" if member.isfile() else kind
            target = member.linkname if member.issym() else ""
            # Docker 20.10 sets the times of directories anew; later ones keep them, as we do.
            copied = member.isdir() or member.mtime == 10**9
            found[member.name.strip("/")] = (
                kind,
                oct(stat.S_IMODE(member.mode)),
                (member.uid, member.gid),
                target,
                body,
                copied,
            )
    return found


def test_every_rule_of_copy_gives_what_docker_gives(dockerd, context, tmp_path):
    ours, theirs = tmp_path / "ours.tar", tmp_path / "theirs.tar"
    argosy("build", "-q", "--output", f"type=tar,dest={ours}", context)
    dockerd("build", "-q", "-o", f"type=tar,dest={theirs}", context, env={"DOCKER_BUILDKIT": "1"})
    mine, docker = listing(ours), listing(theirs)
    assert len(docker) > 80
    different = [(p, mine.get(p), docker[p]) for p in docker if mine.get(p) != docker[p]]
    assert not different, "\n".join(f"{p}: {m} is not docker's {d}" for p, m, d in different)
    assert set(mine) - set(docker) == set()
