"""Dockerfiles that BuildKit, buildah and Argosy must agree on, and the context they share.

`BASE` is an image with a static busybox, users and some odd files. A case names the peers
that cannot build it or that are wrong, with the reason.
"""

import io
import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

BASE = "difftest/base:1"
OLD = "this version has no such feature"  # docker 20.10: frontend 1.2; buildah 1.28


@dataclass(frozen=True)
class Case:
    """One Dockerfile (without its first FROM, unless it has one)."""

    name: str
    text: str
    ignore: str = ""
    args: tuple[str, ...] = ()
    not_docker: str = ""
    not_buildah: str = ""
    leave: tuple[str, ...] = field(default=())  # paths not compared, below which too

    @property
    def dockerfile(self) -> str:
        """The whole text."""
        return self.text if "FROM" in self.text else f"FROM {BASE}\n{self.text}"


def make_context(top: Path) -> None:
    """Every kind of thing a context can have."""
    for name in ("dir/sub/deep", "dir/empty", "tree/a/b", "tree/c", "pkg/x", "pkg/y"):
        (top / name).mkdir(parents=True)
    files = {
        "a.txt": "a\n", "b.txt": "b\n", "dir/one": "1\n", "dir/two.txt": "2\n", "dir/sub/three": "3\n",
        "dir/sub/deep/four.txt": "4\n", "tree/a/f1": "f1\n", "tree/a/b/f2": "f2\n", "tree/c/f3": "f3\n",
        "pkg/x/package.json": "{}\n", "pkg/x/index.js": "x\n", "pkg/y/package.json": "{1}\n",
        "we ird": "blank\n", "naïve.txt": "utf\n", "-dash": "dash\n", "$dollar": "dollar\n",
        "[brackets]": "brackets\n", "star*": "star\n", ".hidden": "hidden\n", "empty": "",
        "not.tar": "this is no archive\n", "suid": "s\n",
    }  # fmt: skip
    for name, text in files.items():
        (top / name).write_text(text)
    (top / "script.sh").write_text("#!/bin/sh\necho ran > /ran\n")
    for name, mode in {
        "script.sh": 0o755, "a.txt": 0o644, "dir": 0o755, "dir/sub": 0o711, "dir/empty": 0o1777,
        "b.txt": 0o600, "suid": 0o4755, "dir/one": 0o640,
    }.items():  # fmt: skip
        os.chmod(top / name, mode)
    os.link(top / "dir/one", top / "dir/one-again")
    for name, target in {
        "link": "a.txt", "dirlink": "dir", "broken": "nowhere", "absolute": "/etc/passwd",
        "dir/up": "../a.txt",
    }.items():  # fmt: skip
        (top / name).symlink_to(target)
    for suffix in ("tar", "tar.gz", "tar.bz2", "tar.xz"):
        _archive(top / f"t.{suffix}", suffix.rpartition(".")[2])


def _archive(path: Path, compression: str) -> None:
    mode = "w" if compression == "tar" else f"w:{compression}"
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, kind, more in (
            ("in", tarfile.DIRTYPE, {"mode": 0o750, "uid": 7, "gid": 8}),
            ("in/file", tarfile.REGTYPE, {"mode": 0o604, "uid": 9, "gid": 10}),
            ("in/link", tarfile.SYMTYPE, {"linkname": "file"}),
            (
                "in/hard",
                tarfile.LNKTYPE,
                {"linkname": "in/file", "mode": 0o604, "uid": 9, "gid": 10},
            ),
        ):
            member = tarfile.TarInfo(name)
            member.type = kind
            for key, value in more.items():
                setattr(member, key, value)
            body = b"in the archive\n" if kind == tarfile.REGTYPE else b""
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))


CASES = (
    # COPY: where to, what of a directory, links
    Case("copy-file", "COPY a.txt /x\n"),
    Case("copy-into-directory", "COPY a.txt /new/dir/\n"),
    Case("copy-to-new-path", "COPY a.txt /new/dir/name\n"),
    Case("copy-relative", "WORKDIR /w\nCOPY a.txt sub/\nCOPY b.txt .\n"),
    Case("copy-several", "COPY a.txt b.txt dir/one /x/\n"),
    Case("copy-directory", "COPY dir /x\n"),
    Case("copy-directory-slash", "COPY dir/ /x/\n"),
    Case("copy-directories-merge", "COPY dir tree /x/\n"),
    Case("copy-over-directory", "RUN mkdir -m 700 /x && chown 5:6 /x && echo old > /x/one\nCOPY dir /x\n"),
    Case("copy-everything", "COPY . /ctx\n", ignore="Dockerfile*\nsuid\n"),
    Case("copy-symlink-file", "COPY link /x/\n"),
    Case("copy-symlink-directory", "COPY dirlink /x/\n"),
    Case("copy-through-symlink", "COPY dirlink/one /x/\n"),
    Case("copy-tree-with-links", "COPY dir /d\nCOPY dir/up /u\n", not_buildah="it keeps the link /u"),
    Case("copy-into-symlinked-directory", "RUN mkdir /real && ln -s /real /sl\nCOPY a.txt /sl/\n"),
    Case("copy-over-symlink", "RUN echo t > /target && ln -s /target /sl\nCOPY a.txt /sl\n",
         not_buildah="it replaces the link"),
    Case("copy-odd-names", 'COPY ["we ird", "naïve.txt", "/x/"]\nCOPY ["-dash", "/x/"]\n'),
    Case("copy-wildcards", "COPY *.txt /x/\nCOPY d?r/t* /y/\nCOPY [ab].txt /z/\n"),
    Case("copy-hidden", "COPY .hidden /x/\nCOPY .h* /y/\n"),
    Case("copy-escaped", "COPY [[]brackets] /x/\n", not_buildah="it knows no such escape"),
    Case("copy-empty-directory", "COPY dir/empty /x/\n"),
    Case("copy-modes", "COPY b.txt /private\nCOPY dir/empty /sticky\n"),
    Case("copy-setuid", "COPY suid /suid\n", not_buildah="it drops the bit"),
    Case("copy-chown-ids", "COPY --chown=12:34 dir /x\n"),
    Case("copy-chown-user", "COPY --chown=app a.txt /x/\n"),
    Case("copy-chown-names", "COPY --chown=app:staff a.txt /x/y/z\n"),
    Case("copy-chown-group-only", "COPY --chown=:staff a.txt /x\n", not_docker="it refuses an empty user",
         not_buildah="it refuses an empty user"),
    Case("copy-chmod", "COPY --chmod=0755 a.txt /x\nCOPY --chmod=600 dir/one /y\n"),
    Case("copy-as-user", "USER app\nCOPY a.txt /x/\nWORKDIR /w\nCOPY b.txt .\n"),
    Case("copy-twice-same-place", "COPY a.txt /x\nCOPY b.txt /x\n"),
    Case("copy-replaces-directory-with-file",
         "RUN mkdir -p /x/y && touch /x/y/z\nRUN rm -rf /x/y\nCOPY a.txt /x/y\n"),
    Case("copy-variables", 'ARG N=a\nENV D=/data\nCOPY ${N}.txt $D/${N:-none}/\nCOPY b.txt "${D}/q"\n'),
    # COPY --from
    Case("from-stage", f"FROM {BASE} AS b\nRUN mkdir /o && echo 1 > /o/f && chown 3:4 /o/f && ln /o/f /o/g"
         f" && ln -s f /o/s\nFROM {BASE}\nCOPY --from=b /o /copied\n"),
    Case("from-stage-file", f"FROM {BASE} AS b\nRUN echo 1 > /f && chmod 4711 /f && chown 3:4 /f\n"
         f"FROM {BASE}\nCOPY --from=b /f /x/y\n"),
    Case("from-stage-number", f"FROM {BASE}\nRUN echo 0 > /f\nFROM {BASE}\nCOPY --from=0 /f /x\n"),
    Case("from-stage-chown", f"FROM {BASE} AS b\nRUN echo 1 > /f\nFROM {BASE}\nCOPY --from=b --chown=9:9 /f /x\n"),
    Case("from-image", f"FROM {BASE}\nCOPY --from={BASE} /etc/passwd /x/\n"),
    Case("from-stage-fifo", f"FROM {BASE} AS b\nRUN mkdir /o && mknod /o/p p && mknod /o/c c 1 7\n"
         f"FROM {BASE}\nCOPY --from=b /o /x\n",
         not_docker="20.10 copies no fifos, and devices as files", not_buildah="it copies no devices"),
    Case("from-stage-wildcard", f"FROM {BASE} AS b\nRUN mkdir /o && touch /o/a1 /o/a2 /o/b1\n"
         f"FROM {BASE}\nCOPY --from=b /o/a* /x/\n"),
    Case("stage-as-base", f"FROM {BASE} AS one\nENV A=1\nRUN echo $A > /one\nFROM one AS two\nENV B=2\n"
         "RUN echo $A$B > /two\nFROM two\n"),
    Case("scratch", f"FROM {BASE} AS b\nFROM scratch\nCOPY --from=b /bin/busybox /bin/\nCOPY a.txt /\n"),
    Case("unused-stage", f"FROM {BASE} AS bad\nRUN exit 1\nFROM {BASE}\nRUN echo ok > /ok\n",
         not_buildah="it builds stages nobody needs"),
    # ADD
    Case("add-file", "ADD a.txt not.tar /x/\n"),
    Case("add-tar", "ADD t.tar /x/\n"),
    Case("add-tar-gz", "ADD t.tar.gz /x\n"),
    Case("add-tar-bz2", "ADD t.tar.bz2 /x/\n"),
    Case("add-tar-xz", "ADD t.tar.xz /x/\n"),
    Case("add-tar-over", "RUN mkdir -p /x/in && echo old > /x/in/file && echo keep > /x/in/keep\nADD t.tar /x/\n"),
    Case("add-directory", "ADD dir /x\n"),
    # RUN
    Case("run-shell", "RUN echo a > /a && chmod 640 /a; mkdir -p /d/e\n"),
    Case("run-exec", 'RUN ["/bin/busybox", "touch", "/with space"]\n'),
    Case("run-umask", "RUN umask > /umask && touch /f && mkdir /d\n"),
    Case("run-remove", "RUN mkdir /d && touch /d/1 /d/2\nRUN rm /d/1 && rm -r /etc/odd\n"),
    Case("run-replace-directory", "RUN mkdir /d && touch /d/old\nRUN rm -r /d && mkdir /d && touch /d/new\n"),
    Case("run-directory-to-file", "RUN mkdir /d && touch /d/x\nRUN rm -r /d && echo f > /d\n"),
    Case("run-file-to-directory", "RUN echo f > /f\nRUN rm /f && mkdir /f && touch /f/in\n"),
    Case("run-links", "RUN echo 1 > /1 && ln /1 /2 && ln -s 1 /3\nRUN ln /1 /4\n",
         not_buildah="its steps share one overlay, in which a lower file is not copied up"),
    Case("run-modify-hardlink", "RUN echo 1 > /1 && ln /1 /2\nRUN echo 2 >> /2\n",
         not_buildah="its steps share one overlay, in which a lower file is not copied up"),
    Case("run-metadata-only", "RUN echo 1 > /1 && mkdir /d && touch /d/keep\nRUN chmod 600 /1 && chown 1:2 /d\n"),
    Case("run-rename-directory", "RUN mkdir /d && touch /d/1\nRUN mv /d /e\n"),
    Case("run-special-files", "RUN mknod /p p && mknod /c c 1 3 && mknod /b b 7 1\n",
         not_buildah="it lets no step make devices"),
    Case("run-setuid", "RUN cp /bin/busybox /su && chmod 6755 /su && mkdir -m 1777 /sticky\n"),
    Case("run-user", "RUN mkdir /home/app && chown app:app /home/app\nUSER app\n"
         "RUN id -u > /home/app/u && id -g > /home/app/g && echo $HOME > /home/app/h\n"),
    Case("run-user-ids", "RUN mkdir -m 777 /o\nUSER 123:456\nRUN id -u > /o/u && id -g > /o/g\n"),
    Case("run-environment", "ENV A=1 B='two words'\nARG C=3\nRUN echo \"$A $B $C $PATH\" > /env\n"),
    Case("run-workdir", "WORKDIR /w/x\nRUN pwd > p\nWORKDIR ..\nRUN pwd > q\nWORKDIR y z\nRUN pwd > /r\n",
         not_buildah="WORKDIR takes one word there", not_docker="WORKDIR takes one word there"),
    Case("run-hosts-leave-nothing", "RUN cat /etc/hosts /etc/resolv.conf > /dev/null; touch /x\n"),
    Case("run-writes-in-tmp-and-dev", "RUN touch /tmp/t /dev/shm/s; touch /dev/nothing || true\n"),
    Case("run-shell-instruction", 'SHELL ["/bin/busybox", "sh", "-xc"]\nRUN echo x > /x\nCMD echo hi\n',
         not_buildah="it forgets SHELL for CMD"),
    Case("run-mount-cache", "RUN --mount=type=cache,target=/cache touch /cache/f /x\nRUN ls -d /cache > /l 2>&1 || true\n",
         leave=("cache:", "l:"), not_buildah="it leaves other things at mount points"),
    Case("run-mount-bind", "RUN --mount=type=bind,source=dir,target=/m cat /m/one > /o; ls /m > /l\n",
         leave=("m:",), not_buildah="it leaves other things at mount points"),
    Case("run-mount-tmpfs", "RUN --mount=type=tmpfs,target=/m touch /m/f; ls /m > /l\n",
         leave=("m:",), not_buildah="it leaves other things at mount points"),
    Case("run-long-line", "RUN echo one && \\\n    # a comment\n    echo two > /two && \\\n\n    echo three > /three\n"),
    Case("run-heredoc", "RUN <<EOF\necho 1 > /1\necho 2 > /2\nEOF\nCOPY <<X /x\nhello $HOME\nX\n",
         not_docker=OLD, not_buildah=OLD),
    # Config
    Case("config-all", "ENV A=1\nLABEL a=b \"c d\"='e f'\nEXPOSE 80 443/tcp 53/udp\nVOLUME /v1 /v2\nUSER app:staff\n"
         'WORKDIR /home\nSTOPSIGNAL SIGINT\nENTRYPOINT ["/e"]\nCMD ["a", "b"]\n', not_buildah="it makes volumes' directories"),
    Case("config-shell-forms", "ENTRYPOINT exec top -b\nCMD echo $A\n"),
    Case("config-cmd-then-entrypoint", 'CMD ["x"]\nENTRYPOINT ["y"]\n'),
    Case("config-health", "HEALTHCHECK --interval=5s --timeout=3s --start-period=1m --retries=2 CMD test -f /x\n"),
    Case("config-health-none", "HEALTHCHECK CMD true\nHEALTHCHECK NONE\n"),
    Case("config-env-forms", "ENV one two three\nENV A=1 B=$A C=\"x y\" D='$one' E=a\\ b\nENV A=2 B=$A\n"),
    Case("config-env-quotes", 'ENV Q="a\\"b" R=\'c"d\' S=e\\\\f T="" U=$$\n',
         not_buildah="$$ stays as it is"),
    Case("config-expansions", "ENV A=foo.tar.gz E=\nENV P=${A:-x} Q=${E:-y} R=${Z:+z} S=${A:+set}\n"),
    Case("config-newer-expansions", "ENV A=foo.tar.gz E=\nENV T=${Z-none} U=${E-none} V=${A#*.} W=${A%%.*} X=${A/o/0} Y=${A//o/0}\n",
         not_docker=OLD, not_buildah=OLD),
    Case("config-label-override", "LABEL a=1 b=2\nLABEL a=3\n"),
    Case("config-expose-range", "EXPOSE 8000-8002 9000\n", not_buildah="it keeps the range as one word"),
    Case("config-arg-default", "ARG A=1\nARG B=${A}2\nENV C=$B\n"),
    Case("config-arg-given", "ARG A=1\nENV C=$A\nRUN echo $A > /a\n", args=("A=given",)),
    Case("config-arg-hidden-by-env", "ARG A=arg\nENV A=env\nRUN echo $A > /a\n", args=("A=given",)),
    Case("config-global-arg", f"ARG IMG={BASE}\nARG V=7\nFROM $IMG\nARG V\nRUN echo $V > /v\n"),
    Case("config-inherits", f'FROM {BASE} AS p\nENV A=1\nCMD ["x"]\nENTRYPOINT ["e"]\nLABEL l=1\nFROM p\nENTRYPOINT ["f"]\n',
         not_buildah="CMD is kept when ENTRYPOINT changes"),
    Case("config-onbuild", "ONBUILD COPY a.txt /onbuild\nONBUILD RUN echo 1 > /o\n"),
    Case("config-maintainer", "MAINTAINER somebody@example.com\nSTOPSIGNAL 9\n"),
    Case("config-volume-json", 'VOLUME ["/data", "/with space"]\n', not_buildah="it makes volumes' directories"),
    Case("workdir-makes-directories", "WORKDIR /a/b/c\nWORKDIR d\nWORKDIR /a\n"),
    Case("workdir-as-user", "USER app\nWORKDIR /new/place\n", not_buildah="its owner differs"),
    Case("workdir-existing", "RUN mkdir -m 700 /w && chown 3:4 /w\nWORKDIR /w\n"),
    Case("workdir-symlink", "RUN mkdir /real && ln -s /real /sl\nWORKDIR /sl/in\nRUN touch f\n"),
    # .dockerignore
    Case("ignore-some", "COPY . /c\n", ignore="suid\n*.txt\n!b.txt\ndir/sub\nDockerfile*\n"),
    Case("ignore-all-but", "COPY . /c\n", ignore="*\n!dir/sub/three\n!tree/a\ntree/a/b\n",
         not_buildah="directories that it enters for an exception get a mode of its own"),
    Case("ignore-double-star", "COPY . /c\n", ignore="suid\n**/*.txt\n**/deep\nDockerfile*\n"),
    Case("ignore-comment", "COPY tree /c\n", ignore="# a comment\n\n  tree/a/f1  \n/tree/c/\n"),
    Case("ignore-directory-copy", "COPY dir /c\n", ignore="dir/*\n!dir/one\n"),
    # Syntax
    Case("syntax-escape", "# escape=`\nFROM " + BASE + "\nRUN echo a `\n && echo b > /b\nENV A=x`$y\n",
         not_buildah="it takes the escape for the value's"),
    Case("syntax-cases", "from " + BASE + " as X\nrun echo 1 > /1\ncopy a.txt /\nFrom x\nenv A=1\n",
         not_buildah="it finds no stage by another case"),
    Case("syntax-crlf", "RUN echo a > /a\r\nENV A=b\r\nCOPY a.txt /x\r\n", not_buildah="it keeps the carriage return"),
    Case("syntax-comments", "# one\n  # two\nRUN echo '# not a comment' > /a # but this is the shell's\n"),
)  # fmt: skip
