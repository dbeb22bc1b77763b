"""`argosy index create`."""

import argparse
import json
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from argosy.cli.options import (
    Parser,
    Switch,
    add_json,
    add_platforms,
    add_progress,
    add_tls,
    add_transfer,
)
from argosy.errors import UsageError

if TYPE_CHECKING:
    from argosy.cli.session import Session
    from argosy.content.mutate import Combined, Part
    from argosy.model.descriptor import Descriptor

HELP = (
    "Make an index of several platforms from images and indexes that were pushed before, as"
    " `docker buildx imagetools create` does. Of one platform the last source stays. What the"
    " target's repository lacks is copied to it."
)


def arguments(parser: Parser) -> None:
    """The words of `index create`."""
    parser.add_argument(
        "sources",
        metavar="SOURCE",
        nargs="*",
        help="an image or index: a reference, oci:…, local:…, or a digest in the target's repository",
    )
    parser.add_argument(
        "-t", "--tag", metavar="NAME", action="append", default=[], help="where to; repeatable"
    )
    parser.add_argument(
        "-f",
        "--file",
        metavar="FILE",
        action="append",
        default=[],
        help="read sources from a file: JSON descriptors, or one source a line; repeatable",
    )
    parser.add_argument(
        "--append", action=Switch, default=False, help="add to the index the target holds"
    )
    parser.add_argument(
        "--annotation",
        metavar="[index:]NAME=VALUE",
        action="append",
        default=[],
        help="an annotation; manifest-descriptor[PLATFORM]: instead of index: puts it on entries",
    )
    add_platforms(parser, "only these platforms of the sources")
    parser.add_argument(
        "--prefer-index",
        action=Switch,
        default=True,
        help="=false: a single image stays an image",
    )
    parser.add_argument(
        "--dry-run", action=Switch, default=False, help="print the index, and change nothing"
    )
    parser.add_argument("--metadata-file", metavar="FILE", help="write the result as JSON")
    add_json(parser, "print {names, digest, mediaType, size}")
    add_transfer(parser)
    add_progress(parser)
    add_tls(parser)


def run(args: argparse.Namespace) -> Coroutine[Any, Any, int]:
    """Make it; prints each name with the digest."""
    if not args.tag and not args.dry_run:
        raise UsageError("the index needs a name", remedy="add --tag registry/repository:tag")
    return _create(args, _sources(args))


async def _create(args: argparse.Namespace, sources: Sequence[str]) -> int:
    from argosy.cli.session import Session
    from argosy.concurrency import in_thread

    async with Session(args) as session:
        combined = await _combined(session, args, sources)
        if args.dry_run:
            print(json.dumps(json.loads(combined.body), indent=2, ensure_ascii=False))
            return 0
        for name in args.tag:
            await _put(session, combined, name)
    await in_thread(_tell, args, combined.root)
    return 0


async def _combined(
    session: "Session", args: argparse.Namespace, sources: Sequence[str]
) -> "Combined":
    from argosy.cli.looking import look_up
    from argosy.content.mutate import Annotation, combine
    from argosy.errors import NotFound

    parts: list[Part] = []
    if args.append:
        if not args.tag:
            raise UsageError("--append needs --tag: the index to add to")
        try:
            found = await look_up(session, args.tag[0])
            parts.append((found.source, found.desc))
        except NotFound as e:
            raise NotFound(
                f"there is nothing to append to: {e.summary}", remedy="leave --append away"
            ) from e
    parts += [await _part(session, text, args) for text in sources]
    notes = [Annotation.parse(text) for text in args.annotation]
    return await combine(parts, annotations=notes, prefer_index=args.prefer_index)


async def _part(session: "Session", text: str, args: argparse.Namespace) -> "Part":
    from argosy.cli.looking import look_up, suggesting

    source, ref = await session.source(text)
    if not args.platforms:
        found = await look_up(session, text)
        return found.source, found.desc
    from argosy.content.select import narrowed

    async with suggesting(source, text, ref):
        few, name = await narrowed(source, ref, args.platforms)
    return few, await few.resolve(name)


def _sources(args: argparse.Namespace) -> list[str]:
    """Every source as a location; digests are meant in the first target's repository."""
    words: list[str] = []
    for path in args.file:
        with open(path, encoding="utf-8") as file:
            words += listed_in(file.read())
    words += args.sources
    if not words:
        raise UsageError("an index needs at least one source", remedy="name images or indexes")
    return [_in_target(word, args) for word in words]


def listed_in(text: str) -> list[str]:
    """The sources a file names: digests of JSON descriptors (one, a list, or an index), or lines."""
    try:
        value: Any = json.loads(text)
    except ValueError:
        return [line.strip() for line in text.splitlines() if line.strip()]
    if isinstance(value, dict):
        value = value.get("manifests") or [value]
    try:
        return [str(entry["digest"]) for entry in value]
    except (TypeError, KeyError) as e:
        raise UsageError(
            "a file of sources cannot be read", why="its JSON holds no descriptors"
        ) from e


def _in_target(word: str, args: argparse.Namespace) -> str:
    from argosy.cli.session import registry_reference
    from argosy.model.digest import Digest, is_digest

    if not is_digest(word):
        return word
    if not args.tag:
        raise UsageError(f"{word} is a digest, and no --tag says in which repository")
    return str(registry_reference(args.tag[0]).with_digest(Digest.parse(word)))


async def _put(session: "Session", combined: "Combined", name: str) -> None:
    from argosy.content.copy import copy

    store, ref = await session.store(name)
    jobs = session.settings.jobs
    await copy(combined, "", store, ref, jobs=jobs, referrers=True, report=session.report)


def _tell(args: argparse.Namespace, root: "Descriptor") -> None:
    result = {
        "names": args.tag,
        "digest": str(root.digest),
        "mediaType": root.media_type,
        "size": root.size,
    }
    if args.metadata_file:
        # The keys of buildx's metadata file, for what reads it.
        value = {
            "image.name": ",".join(args.tag),
            "containerimage.descriptor": root.to_json(),
            "containerimage.digest": str(root.digest),
        }
        with open(args.metadata_file, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=2)
    if args.json:
        from argosy.cli.terminal.table import print_json

        print_json(result)
    else:
        print("".join(f"{name}@{root.digest}\n" for name in args.tag), end="")
