"""The build context: a local directory, read in place, less what its ignore file leaves out.

Nothing is sent or copied. What makes that quick is a table of file digests, keyed by
what stat says: a context in which nothing changed costs one walk.
"""

import os
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field

from argosy.build.dockerfile.ignore import Matcher, Pattern, parse
from argosy.build.files.tree import Tree, read_digest, resolve
from argosy.errors import BuildError, UsageError

# A file that was changed this recently may be changed again within the same tick of
# the file system's clock, so its digest is not kept.
_SETTLED_NS = 1_000_000_000
_FILE = "an archive is given on standard input: argosy build - < FILE"
_MISSING = "give the directory that COPY takes files from, often `.`, or the URL of a repository"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
  root TEXT, dev INTEGER, ino INTEGER, size INTEGER, mtime INTEGER, ctime INTEGER, digest BLOB,
  PRIMARY KEY (root, dev, ino)) WITHOUT ROWID
"""

_Identity = tuple[int, int]
_Known = tuple[int, int, int, bytes]


@dataclass(slots=True, eq=False)
class FileDigests:
    """Digests of the files below one root, remembered from build to build."""

    path: str  # of the database
    root: str
    _known: dict[_Identity, _Known] | None = None
    _new: dict[_Identity, _Known] = field(default_factory=dict)
    hashed: int = 0  # files that had to be read

    def __call__(self, dir_fd: int, name: str, status: os.stat_result) -> bytes:
        """The digest of a file; it is read only if it is not known, or changed."""
        if self._known is None:
            self._known = self._load()
        identity = (status.st_dev, status.st_ino)
        stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        known = self._known.get(identity)
        if known is not None and known[:3] == stamp:
            return known[3]
        digest = read_digest(dir_fd, name, status)
        self.hashed += 1
        if time.time_ns() - max(stamp[1:]) > _SETTLED_NS:
            self._known[identity] = self._new[identity] = (*stamp, digest)
        return digest

    def save(self) -> None:
        """Keep what was learnt; a table that cannot be written is only a slower build."""
        if not self._new:
            return
        rows = [(self.root, *identity, *known) for identity, known in self._new.items()]
        with suppress(sqlite3.Error, OSError), closing(self._opened()) as db, db:
            db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        self._new = {}

    def _load(self) -> dict[_Identity, _Known]:
        # 32 bytes alone were written by an Argosy that kept no extended attributes with them.
        sql = (
            "SELECT dev, ino, size, mtime, ctime, digest FROM files"
            " WHERE root = ? AND length(digest) > 32"
        )
        with suppress(sqlite3.Error, OSError), closing(self._opened()) as db:
            return {(r[0], r[1]): r[2:] for r in db.execute(sql, (self.root,))}
        return {}

    def _opened(self) -> sqlite3.Connection:
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        db = sqlite3.connect(self.path, timeout=5)
        db.execute(_SCHEMA)
        return db


def open_context(path: str, dockerfile: str, state: str, *, foreign: bool = False) -> Tree:
    """The context at `path` (blocking); `state` is where file digests are kept.

    The ignore file is `<dockerfile>.dockerignore` if there is one, else `.dockerignore`
    in the context. A `foreign` one came from elsewhere, and lasts as long as the build:
    links in it do not lead out of it, and nothing of it is remembered.
    """
    root = local_directory(path)
    patterns = _patterns(root, dockerfile, foreign=foreign)
    ignore = Matcher(patterns) if patterns else None
    digests = None if foreign else FileDigests(os.path.join(state, "files.db"), root)
    return Tree(root, ignore, file_digest=digests, special=False)  # no fifos, as with docker


def save_digests(tree: Tree) -> None:
    """Remember the digests of a context's files (blocking)."""
    if isinstance(tree.file_digest, FileDigests):
        tree.file_digest.save()


def local_directory(path: str) -> str:
    """The real path of a context (blocking); UsageError if it cannot be one."""
    if not os.path.isdir(path):
        raise UsageError(
            f"{path} cannot be a build context",
            why="it is not a directory" if os.path.exists(path) else "it does not exist",
            remedy=_FILE if os.path.isfile(path) else _MISSING,
        )
    return os.path.realpath(path)


def _patterns(root: str, dockerfile: str, *, foreign: bool) -> tuple[Pattern, ...]:
    own = f"{dockerfile}.dockerignore" if dockerfile else ""
    for named in (own, os.path.join(root, ".dockerignore")):
        path = named
        if named and foreign:
            path = os.path.join(root, resolve(root, os.path.relpath(named, root)))
        if path and os.path.isfile(path):
            with open(path, "rb") as file:
                return parse(file.read(), os.path.basename(path))
    return ()


def read_dockerfile(context: str, path: str) -> tuple[bytes, str]:
    """The bytes of the Dockerfile and where it is (blocking); `` is Dockerfile in the context."""
    found = path or os.path.join(context, "Dockerfile")
    if path and not os.path.isabs(path) and not os.path.exists(path):
        # As docker: relative to the working directory, else to the context.
        found = os.path.join(context, path)
    try:
        with open(found, "rb") as file:
            return file.read(), found
    except OSError as e:
        raise BuildError(
            f"cannot read {found}",
            why=e.strerror or str(e),
            remedy="name the Dockerfile with --file",
        ) from e
