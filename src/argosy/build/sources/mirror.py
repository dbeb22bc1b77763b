"""Git repositories: which commit is meant, a mirror with what was fetched, a directory of it.

First the server is asked which commit a ref stands for; only a commit that the mirror
lacks is fetched, without its history. Mirrors are bare, one per repository, shared by
all builds of this home under a lock.
"""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from argosy.build.dockerfile.git_reference import GitReference, shown
from argosy.build.files.tree import Tree, resolve
from argosy.build.sources.git import Git, GitFailed, access_to
from argosy.build.sources.outside import Outside, locked
from argosy.build.ssh import Agent
from argosy.concurrency import in_thread
from argosy.errors import BuildError, DigestMismatch
from argosy.observe import Event
from argosy.values import frozen

_LOCKS = ("shallow.lock", "packed-refs.lock", "config.lock", "HEAD.lock")


@frozen(kw_only=True)
class Commit:
    """What a ref stands for: a commit, and the full name of the ref that leads to it (or ``)."""

    id: str
    ref: str = ""


@dataclass(slots=True)
class GitTree:
    """A commit of a repository, or a directory of it, as a source of ADD or a context.

    Its key is the commit, the directory and what is kept; where the repository is only
    counts when its .git is kept, which says so.
    """

    reference: GitReference
    outside: Outside
    default_agent: bool = False  # use SSH_AUTH_SOCK without --ssh: the user named it himself
    commit: Commit | None = None

    pattern = "."

    @property
    def key(self) -> list[Any]:
        """The commit, and what of it."""
        r, commit = self.reference, self._known
        kept = [shown(r.remote), commit.ref] if r.keep_git_dir else []
        return ["git/1", commit.id, r.subdir, r.submodules, kept]

    @property
    def _known(self) -> Commit:
        if self.commit is None:
            raise BuildError(f"{self._name} was not resolved")
        return self.commit

    @property
    def _name(self) -> str:
        r = self.reference
        return shown(r.remote) + (f"#{r.ref}" if r.ref else "")

    async def resolve(self) -> None:
        """Ask the server what the ref stands for; a whole commit needs no asking."""
        if self.commit is None:
            async with self._git() as git:
                self.commit = await self._asked(git)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Tree]:
        """The files, in a directory of their own that is gone at the end."""
        async with self.outside.scratch() as place, self._git() as git:
            top = os.path.join(place, "tree")
            await in_thread(os.mkdir, top, 0o755)
            await self._checked_out(git, top)
            yield Tree(await in_thread(self._below, top), what=self._name)

    # Asking

    @asynccontextmanager
    async def _git(self) -> AsyncIterator[Git]:
        home = os.path.join(self.outside.state, "git")
        await in_thread(os.makedirs, home, mode=0o700, exist_ok=True)
        access = await in_thread(access_to, self.reference, self.outside)
        async with AsyncExitStack() as stack:
            agent = self.outside.agents.get("default") if access.over_ssh else None
            if access.over_ssh and self.default_agent and os.environ.get("SSH_AUTH_SOCK"):
                agent = agent or Agent()
            if agent is not None:
                opened = agent.opened()
                path = await in_thread(opened.__enter__)
                stack.push_async_callback(in_thread, opened.__exit__, None, None, None)
                access = replace(access, variables=(("SSH_AUTH_SOCK", path),))
            yield Git(home=home, access=access)

    async def _asked(self, git: Git) -> Commit:
        r = self.reference
        if r.is_commit:
            return self._checked(Commit(id=r.ref), ())
        wanted = [r.ref, f"{r.ref}^{{}}"] if r.ref else ["HEAD"]
        listed = await git(
            *("ls-remote", "--", git.access.url, *wanted), cwd=git.home, doing="cannot ask"
        )
        refs = {name: commit for commit, _, name in (s.partition("\t") for s in listed.split("\n"))}
        for name in _candidates(r.ref):
            if name in refs:
                commit = refs.get(f"{name}^{{}}", refs[name])
                return self._checked(Commit(id=commit, ref=name), (refs[name],))
        raise BuildError(
            f"{shown(r.remote)} has no branch or tag {r.ref!r}"
            if r.ref
            else f"{self._name} is empty",
            why="commits can be named too, but only by all of their 40 (or 64) digits"
            if r.ref
            else "it has no commit yet",
            remedy="check the part after # in the URL",
        )

    def _checked(self, commit: Commit, others: tuple[str, ...]) -> Commit:
        wanted = self.reference.checksum
        if not wanted or any(found.startswith(wanted) for found in (commit.id, *others)):
            return commit
        raise DigestMismatch(
            self._name,
            expected=wanted,
            actual=commit.id,
            why="the ref stands for another commit than the checksum",
            remedy="if the ref was meant to move, write its new commit into the checksum",
        )

    # Fetching

    async def _checked_out(self, git: Git, top: str) -> None:
        name = sha256(git.access.url.encode()).hexdigest()[:32] + f"-{len(self._known.id)}"
        mirror = os.path.join(git.home, name)
        await in_thread(self.outside.claim, f"git/{name}")
        async with locked(f"{mirror}.lock"):
            checkout = _Checkout(self.reference, self._known, git, mirror, top)
            try:
                await self._mirrored(git, mirror)
                await checkout.run()
            except BuildError:
                if await self._is_sound(git, mirror):
                    raise
                # Damaged on the disk: it holds nothing that cannot be fetched again.
                await in_thread(_emptied, top, mirror)
                await self._mirrored(git, mirror)
                await checkout.run()

    async def _is_sound(self, git: Git, mirror: str) -> bool:
        try:
            await git("fsck", "--no-dangling", "--no-progress", cwd=mirror)
        except GitFailed:
            return False
        return True

    async def _mirrored(self, git: Git, mirror: str) -> None:
        commit = self._known
        await in_thread(_unlocked, mirror)
        if not await in_thread(os.path.exists, os.path.join(mirror, "HEAD")):
            await in_thread(os.makedirs, mirror, exist_ok=True)
            await _init(git, mirror, commit.id, "--bare")
            await in_thread(_describe, mirror, shown(self.reference.remote))
        try:
            await git("cat-file", "-e", f"{commit.id}^{{commit}}", cwd=mirror)
        except GitFailed:
            await self._fetched(git, mirror)

    async def _fetched(self, git: Git, mirror: str) -> None:
        name, commit = f"fetch {self._name}", self._known
        key, report = f"git-{commit.id}", self.outside.report
        report(Event("started", key, name))
        try:
            await self._fetch(git, mirror)
            await git("cat-file", "-e", f"{commit.id}^{{commit}}", cwd=mirror)
        except GitFailed as e:
            report(Event("failed", key, name))
            if "valid object name" in e.said or "could not get object" in e.said:
                raise BuildError(
                    f"{shown(self.reference.remote)} has no commit {commit.id}",
                    why="or no branch and no tag leads to it any more",
                    remedy="check the commit, or build again if the branch has just moved",
                ) from e
            raise
        report(Event("done", key, name))

    async def _fetch(self, git: Git, mirror: str) -> None:
        commit, url = self._known, git.access.url
        words = ["fetch", "--quiet", "--force", "--no-tags", "--update-shallow"]
        keep = f":refs/argosy/{commit.id}"
        for depth, what in (
            ("--depth=1", f"{commit.id}{keep}"),
            ("--depth=1", f"{commit.ref}{keep}" if commit.ref else ""),
            ("", "+refs/*:refs/all/*"),  # servers that can do neither, such as plain files
        ):
            if what:
                with suppress(GitFailed):
                    await git(*words, *filter(None, [depth]), "--", url, what, cwd=mirror)
                    await git("cat-file", "-e", f"{commit.id}^{{commit}}", cwd=mirror)
                    return
        await git(*words, "--", url, "+HEAD:refs/all/HEAD", cwd=mirror, doing="cannot fetch")

    def _below(self, top: str) -> str:
        wanted = self.reference.subdir
        found = os.path.join(top, resolve(top, wanted)) if wanted else top
        if not os.path.isdir(found):
            raise BuildError(
                f"there is no directory {wanted} in {self._name}",
                why=f"at commit {self._known.id[:12]}",
                remedy="check the part after the colon in the URL",
            )
        return found


@frozen
class _Checkout:
    """One commit written into a directory, the same for the same commit whenever it is done."""

    reference: GitReference
    commit: Commit
    git: Git
    mirror: str
    top: str

    async def run(self) -> None:
        """Files, submodules, times; .git only if it is wanted."""
        git, top, commit = self.git, self.top, self.commit
        keep = self.reference.keep_git_dir and not self.reference.subdir
        await _init(git, top, commit.id)
        if keep:
            ref = f"refs/argosy/{commit.id}"
            await git("update-ref", ref, commit.id, cwd=self.mirror)
            words = ("fetch", "--quiet", "--depth=1", "--no-tags", f"file://{self.mirror}", ref)
            await git(*words, cwd=top, protocols="file")
        else:
            await in_thread(_borrow, top, self.mirror)
        await git("checkout", "--quiet", "--force", "--detach", commit.id, "--", cwd=top)
        await git("remote", "add", "origin", git.access.url, cwd=top)
        modules = os.path.lexists(os.path.join(top, ".gitmodules"))
        if self.reference.submodules and modules:
            await self._submodules()
        if keep:
            await self._settled()
        when = await git("log", "-1", "--format=%ct", commit.id, cwd=top)
        await in_thread(_dressed, top, int(when), keep)

    async def _submodules(self) -> None:
        words = ["submodule", "--quiet", "update", "--init", "--recursive"]
        doing = "cannot fetch the submodules of"
        try:
            await self.git(*words, "--depth=1", cwd=self.top, doing=doing)
        except GitFailed:  # a server that does not give single commits
            await self.git(*words, cwd=self.top, doing=doing)

    async def _settled(self) -> None:
        """A .git that does not tell when and where it was made."""
        name = self.commit.ref
        if name.startswith("refs/heads/"):
            name = "refs/remotes/origin/" + name.removeprefix("refs/heads/")
        if name.startswith("refs/"):
            await self.git("update-ref", name, self.commit.id, cwd=self.top)
        inside = os.path.join(self.top, ".git")
        for path in ("index", "FETCH_HEAD", "ORIG_HEAD"):
            with suppress(FileNotFoundError):
                await in_thread(os.unlink, os.path.join(inside, path))
        await self.git("read-tree", "HEAD", cwd=self.top)  # an index without inodes and times


async def _init(git: Git, path: str, commit: str, *more: str) -> None:
    form = "sha256" if len(commit) == 64 else "sha1"
    await git("init", "--quiet", "--template=", f"--object-format={form}", *more, cwd=path)


def _candidates(ref: str) -> tuple[str, ...]:
    """The refs that a short name may stand for, the likeliest first (a branch before a tag)."""
    if not ref:
        return ("HEAD",)
    return (ref, f"refs/heads/{ref}", f"refs/tags/{ref}", f"refs/{ref}")


def _unlocked(mirror: str) -> None:
    """Remove locks of a git that was killed: we hold the mirror's own lock."""
    for name in _LOCKS:
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(os.path.join(mirror, name))


def _describe(mirror: str, remote: str) -> None:
    with open(os.path.join(mirror, "description"), "w", encoding="utf-8") as file:
        file.write(f"{remote}\n")


def _borrow(top: str, mirror: str) -> None:
    info = os.path.join(top, ".git", "objects", "info")
    os.makedirs(info, exist_ok=True)
    with open(os.path.join(info, "alternates"), "w", encoding="utf-8") as file:
        file.write(os.path.join(mirror, "objects") + "\n")
    with suppress(FileNotFoundError):
        shutil.copy(os.path.join(mirror, "shallow"), os.path.join(top, ".git", "shallow"))


def _emptied(top: str, mirror: str) -> None:
    shutil.rmtree(mirror)
    shutil.rmtree(top)
    os.mkdir(top, 0o755)


def _dressed(top: str, when: int, keep: bool) -> None:
    """Everything as old as the commit; without .git unless it is kept."""
    for folder, names, files in os.walk(top, topdown=False):
        for name in (*names, *files):
            path = os.path.join(folder, name)
            if name == ".git" and not keep:
                # Of submodules it is a file that leads to the repository's.
                (os.unlink if os.path.isfile(path) or os.path.islink(path) else shutil.rmtree)(path)
            else:
                os.utime(path, (when, when), follow_symlinks=False)
        os.utime(folder, (when, when))
