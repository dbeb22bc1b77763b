"""Text to instructions: lines, documents, flags, forms; every instruction's own rules."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.build.dockerfile import instructions as i
from argosy.build.dockerfile.instructions import Instruction, MountFlag
from argosy.build.dockerfile.parser import Dockerfile, parse
from argosy.build.dockerfile.words import comma_fields, quoted_words, size
from argosy.errors import DockerfileError


def body(text: str) -> tuple[Instruction, ...]:
    return parse("FROM scratch\n" + text).stages[0].instructions


def one(text: str) -> Instruction:
    (found,) = body(text)
    return found


def command(text: str) -> tuple[tuple[str, ...], bool]:
    found = one(text)
    assert isinstance(found, i.Run | i.Cmd | i.Entrypoint)
    return found.command.words, found.command.shell


def failure(text: str) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        body(text)
    return caught.value


def test_lines_are_joined_and_comments_and_empty_lines_in_between_dropped() -> None:
    text = "RUN a \\\n# comment\n  b \\  \n\n   # indented\n  c\nUSER x\n"
    run, user = body(text)
    assert isinstance(run, i.Run)
    assert run.command.words == ("a   b   c",)
    assert (run.where.first, run.where.last) == (2, 7)
    assert (user.where.first, user.where.last) == (8, 8)


def test_the_empty_lines_in_a_continued_instruction_are_remembered_for_lint() -> None:
    statement = parse("FROM scratch\nRUN a \\\n\n  b\n").statements[1]
    assert statement.gaps == (3,)


def test_a_doubled_escape_at_the_end_of_a_line_continues_nothing() -> None:
    assert command("RUN echo \\\\\n") == (("echo \\\\",), True)


def test_the_escape_directive_changes_what_continues_a_line() -> None:
    found = parse("# escape=`\nFROM scratch\nRUN dir c:\\ `\n  x\n")
    run = found.stages[0].instructions[0]
    assert isinstance(run, i.Run)
    assert run.command.words == ("dir c:\\   x",)


def test_directives_are_only_read_at_the_very_top() -> None:
    found = parse("#syntax=a/b:1\n# Check = skip=all\n\n# escape=`\nFROM x\nRUN a \\\n b\n")
    assert [(d.name, d.value) for d in found.directives] == [
        ("syntax", "a/b:1"),
        ("check", "skip=all"),
    ]
    assert found.escape == "\\"


def test_a_directive_given_twice_or_an_unknown_escape_is_an_error() -> None:
    for text in ("# escape=`\n# escape=`\nFROM x\n", "# escape=x\nFROM x\n"):
        with pytest.raises(DockerfileError):
            parse(text)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_and_a_byte_order_mark_change_nothing(end: str) -> None:
    text = "\ufeff# escape=\\\nFROM a AS b\nRUN x \\\n y\nCOPY <<E /f\nline\nE\nUSER z\n"
    stage = parse(text.replace("\n", end).encode()).stages[0]
    assert stage.name == "b"
    run, copy, user = stage.instructions
    assert isinstance(run, i.Run)
    assert isinstance(copy, i.Copy)
    assert isinstance(user, i.User)
    assert (run.command.words, user.user) == (("x  y",), "z")
    assert copy.files[0].data == f"line{end}"  # a document is kept to the byte


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"FROM x\nRUN \xff\n", 2),
        ("FROM x\n".encode("utf-16"), 1),
        (b"FROM x\nRUN a\0b\n", 2),
        (b"FROM x\n\nRUN " + b"a" * 65_532 + b"\n", 3),
        (b"FROM x\nRUN " + "é".encode() * 32_766 + b"\n", 2),
    ],
)
def test_what_is_no_text_is_an_error_with_its_line(content: bytes, line: int) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(content)
    assert caught.value.line == line


def test_a_line_may_be_as_long_as_the_limit() -> None:
    parse(b"FROM x\nRUN " + b"a" * 65_531 + b"\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('RUN ["a", "b c"]', (("a", "b c"), False)),
        ("RUN [ -f x ] && y", (("[ -f x ] && y",), True)),
        ("RUN ['a']", (("['a']",), True)),
        ('RUN ["a"] b', (('["a"] b',), True)),
        (r'CMD ["é\u00e9\n"]', (("éé\n",), False)),
        (r'CMD ["\ud800"]', (("\ufffd",), False)),
        ("CMD []", ((), False)),
        ("CMD", (("",), True)),
        ("ENTRYPOINT  exec  top -b ", (("exec  top -b",), True)),
        ("run x", (("x",), True)),
    ],
)
def test_commands_have_an_exec_and_a_shell_form(
    text: str, expected: tuple[tuple[str, ...], bool]
) -> None:
    assert command(text) == expected


@pytest.mark.parametrize(
    "text", ['RUN ["a", 1]', "RUN [[]]", "RUN [1e999999]", "RUN [" + "1" * 9000 + "]"]
)
def test_an_array_of_anything_but_strings_is_an_error(text: str) -> None:
    assert "string" in failure(text).summary


def test_deeply_nested_brackets_are_a_shell_command_not_a_crash() -> None:
    assert command("RUN " + "[" * 20_000)[1] is True


def heredocs(text: str) -> list[tuple[str, str, bool]]:
    found = one(text)
    documents = found.heredocs if isinstance(found, i.Run) else getattr(found, "files", ())
    return [(h.name, h.data, h.expands) for h in documents]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN <<EOF\na\nEOF\n", [("EOF", "a\n", True)]),
        ("RUN <<'EOF'\n$a\nEOF\n", [("EOF", "$a\n", False)]),
        ('RUN <<"EOF" cat\nEOF\n', [("EOF", "", False)]),
        ("RUN <<-E\n\t\ta\n\tE\n", [("E", "a\n", True)]),
        ("RUN a <<A <<B b\n1\nA\n2\nB\n", [("A", "1\n", True), ("B", "2\n", True)]),
        ("COPY <<a x <<b /d\n1\na\n2\nb\n", [("a", "1\n", True), ("b", "2\n", True)]),
        ("RUN --network=none <<E\n# kept\n\nE\n", [("E", "# kept\n\n", True)]),
        ("RUN 3<<E\nE\n", [("E", "", True)]),
        ('RUN echo "<<EOF"\n', []),
        ("RUN echo \\<<EOF\n", []),
        ("RUN echo $((1<<2))\n", []),
        ('RUN ["<<EOF"]\n', []),
        ("RUN a<<EOF\n", []),
        ("RUN <<< word cat\n", []),
        ("USER <<EOF\n", []),
    ],
)
def test_here_documents_are(text: str, expected: list[tuple[str, str, bool]]) -> None:
    assert heredocs(text) == expected


def test_a_here_document_may_follow_a_continued_line() -> None:
    run, user = body("RUN cat \\\n <<E\nx \\\ny\nE\nUSER a\n")
    assert isinstance(run, i.Run)
    assert run.heredocs[0].data == "x \\\ny\n"
    assert isinstance(user, i.User)


def test_a_here_document_left_open_names_its_word_and_its_first_line() -> None:
    error = failure("RUN <<EOF\na\n EOF\n")
    assert error.line == 2
    assert "'EOF'" in error.summary


def test_the_destination_of_a_copy_is_no_here_document() -> None:
    assert "destination" in failure("COPY a <<E\nE\n").summary


def test_from_takes_a_name_and_a_platform() -> None:
    start = parse("FROM --platform=$BUILDPLATFORM a:b as My.Stage-1\n").stages[0].start
    assert (start.image, start.name, start.name_written, start.platform) == (
        "a:b",
        "my.stage-1",
        "My.Stage-1",
        "$BUILDPLATFORM",
    )


@pytest.mark.parametrize(
    "text", ["FROM", "FROM a b", "FROM a AS", "FROM a AS 1x", "FROM a OF b", "FROM a AS b c"]
)
def test_a_malformed_from_is_an_error(text: str) -> None:
    with pytest.raises(DockerfileError):
        parse(text)


def test_only_arguments_come_before_the_first_stage() -> None:
    found = parse("ARG A=1 B\nARG C\nFROM a\nFROM b\nRUN x\n")
    assert [a.args for a in found.global_args] == [(("A", "1"), ("B", None)), (("C", None),)]
    assert [s.name for s in found.stages] == ["stage-0", "stage-1"]
    for text in ("RUN x\nFROM a\n", "", "# only\n", "ARG a\n"):
        with pytest.raises(DockerfileError):
            parse(text)


@pytest.mark.parametrize(
    ("text", "pairs", "legacy"),
    [
        ("ENV a=b", (("a", "b"),), False),
        ("ENV a=\"x y\" b='z' c=", (("a", '"x y"'), ("b", "'z'"), ("c", "")), False),
        (r"ENV a=x\ y b=$a", (("a", r"x\ y"), ("b", "$a")), False),
        ("ENV a b c=d", (("a", "b c=d"),), True),
        ("ENV a=b=c", (("a", "b=c"),), False),
        ("LABEL a.b=c", (("a.b", "c"),), False),
        ('LABEL "a b"=c', (('"a b"', "c"),), False),
    ],
)
def test_names_and_values_are(text: str, pairs: tuple[tuple[str, str], ...], legacy: bool) -> None:
    found = one(text)
    assert isinstance(found, i.Env | i.Label)
    assert (found.pairs, found.legacy) == (pairs, legacy)


@pytest.mark.parametrize(
    "text", ["ENV", "ENV a", "ENV a=b c", "ENV =b", "LABEL a", "ARG =x", "ARG"]
)
def test_malformed_names_and_values_are_errors(text: str) -> None:
    assert failure(text).line == 2


def test_a_copy_has_all_its_flags() -> None:
    found = one(
        "COPY --from=b --chown=1:2 --chmod=u=rwX,go=rX --link --parents"
        " --exclude=*.o --exclude=x a 'b' /c/"
    )
    assert isinstance(found, i.Copy)
    assert (found.sources, found.dest, found.from_) == (("a", "'b'"), "/c/", "b")
    assert (found.chown, found.chmod, found.exclude) == ("1:2", "u=rwX,go=rX", ("*.o", "x"))
    assert found.link
    assert found.parents


def test_an_add_has_all_its_flags() -> None:
    digest = "sha256:" + "0" * 64
    found = one(f"ADD --checksum={digest} --keep-git-dir=false --unpack https://x/y /")
    assert isinstance(found, i.Add)
    assert (found.checksum, found.keep_git_dir, found.unpack) == (digest, False, True)


def test_a_json_array_gives_paths_with_blanks() -> None:
    found = one('COPY ["a b", "/c d/"]')
    assert isinstance(found, i.Copy)
    assert (found.sources, found.dest) == (("a b",), "/c d/")


@pytest.mark.parametrize(
    "text",
    [
        "COPY a",
        "COPY --frm=x a b",
        "COPY --from a b",
        "COPY --from=$x a b",
        "COPY --from=a --from=b a b",
        "COPY --link=maybe a b",
        "COPY --chmod=888 a b",
        "COPY --chmod=17777 a b",
        "COPY --chmod=u=q a b",
        "COPY --chown=a:b:c a b",
        "ADD --parents a b",
        "ADD --checksum=md5:1 a b",
        "RUN",
        "RUN []",
        "RUN --network=some x",
        "RUN --security=no x",
        "RUN --device=gpu x",
        "USER",
        "WORKDIR",
        "VOLUME",
        'VOLUME [""]',
        "SHELL /bin/sh",
        "SHELL []",
        "EXPOSE",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "HEALTHCHECK x",
        "HEALTHCHECK NONE x",
        "HEALTHCHECK CMD",
        "HEALTHCHECK --interval=5 CMD x",
        "HEALTHCHECK --interval=1ns CMD x",
        "HEALTHCHECK --retries=-1 CMD x",
        "ONBUILD",
        "ONBUILD FROM x",
        "ONBUILD ONBUILD RUN x",
        "ONBUILD MAINTAINER x",
        "ONBUILD COPY a",
        "MAINTAINER",
        "INCLUDE x",
        "CMD --flag x",
    ],
)
def test_a_malformed_instruction_is_an_error_on_its_line(text: str) -> None:
    error = failure(text + "\n")
    assert error.line == 2
    assert error.source == text


def test_flags_may_be_quoted_and_end_at_two_dashes() -> None:
    found = one('COPY --chown="a":b -- --x /y')
    assert isinstance(found, i.Copy)
    assert (found.chown, found.sources) == ("a:b", ("--x",))


def test_a_healthcheck_has_times_in_nanoseconds() -> None:
    found = one(
        "HEALTHCHECK --interval=1m30s --timeout=1.5s --start-period=0 --start-interval=250ms"
        " --retries=3 CMD curl -f x"
    )
    assert isinstance(found, i.Healthcheck)
    assert found.test == ("CMD-SHELL", "curl -f x")
    assert (found.interval, found.timeout) == (90 * 10**9, 1_500_000_000)
    assert (found.start_period, found.start_interval, found.retries) == (0, 250_000_000, 3)
    assert one("HEALTHCHECK none") == i.Healthcheck(
        test=("NONE",), where=found.where, text="HEALTHCHECK none"
    )


def test_onbuild_keeps_its_trigger_with_its_documents() -> None:
    found = one("ONBUILD COPY --from=a <<E /x\ntext\nE\n")
    assert isinstance(found, i.Onbuild)
    assert found.trigger == "COPY --from=a <<E /x\ntext\nE"
    assert isinstance(found.inner, i.Copy)
    assert found.inner.files[0].data == "text\n"


def mount(text: str) -> MountFlag:
    found = one(f"RUN --mount={text} x")
    assert isinstance(found, i.Run)
    return found.mounts[0]


def test_a_mount_is_a_comma_list_in_which_fields_may_be_quoted() -> None:
    found = mount("'type=cache,\"target=/a,b\",ro'")
    assert (found.kind, found.options) == (
        "cache",
        (("type", "cache"), ("target", "/a,b"), ("ro", None)),
    )


@pytest.mark.parametrize(
    "text",
    [
        "type=catch,target=/x",
        "type=bind",
        "type=bind,target=/",
        "type=bind,target=/x,sharing=locked",
        "type=bind,targt=/x",
        "type=bind,target",
        "type=bind,target=/x,ro=perhaps",
        "type=bind,target=/x,from=$y",
        "type=cache,target=/x,sharing=all",
        "type=cache,target=/x,mode=9",
        "type=cache,target=/x,uid=root",
        "type=cache,target=/x,uid=99999999999",
        "type=tmpfs,target=/x,size=big",
        "type=secret",
        "type=secret,from=x,id=y",
        "type=ssh,source=x",
        "'\"type=bind'",
    ],
)
def test_a_malformed_mount_is_an_error(text: str) -> None:
    assert failure(f"RUN --mount={text} x\n").line == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", 1), ("64m", 64 << 20), ("1.5g", 3 << 29), ("2KiB", 2048), ("3 b", 3)],
)
def test_sizes_are_in_powers_of_1024(text: str, expected: int) -> None:
    assert size(text) == expected


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_comma_lists_come_back_as_they_were_written(values: list[str]) -> None:
    quoted = ",".join('"' + v.replace('"', '""') + '"' for v in values)
    assert comma_fields(quoted) == values


@given(st.lists(st.text("ab \"'\\"), max_size=5))
def test_words_in_quotes_stay_whole(values: list[str]) -> None:
    escaped = [v.replace("\\", "\\\\").replace('"', '\\"') for v in values]
    quoted = [f'"{v}"' for v in escaped]
    assert quoted_words(" ".join(quoted), "\\") == quoted


@given(st.lists(st.text(), min_size=1))
def test_an_exec_form_gives_the_strings_of_its_json(words: list[str]) -> None:
    words = [w.replace("\0", "") for w in words]
    assert command("CMD " + json.dumps(words))[0] == tuple(words)


def test_every_instruction_has_its_range_and_text() -> None:
    found: Dockerfile = parse("FROM a\nRUN b \\\n  c\n\n# x\nCMD d\n", "dir/My.Dockerfile")
    run, cmd = found.stages[0].instructions
    assert (str(run.where), run.where.last, run.text) == ("dir/My.Dockerfile:2", 3, "RUN b   c")
    assert (cmd.where.first, cmd.text) == (6, "CMD d")
    assert found.statements[2].comments == ("x",)
