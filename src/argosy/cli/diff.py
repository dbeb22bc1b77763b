"""`argosy diff`."""

import argparse
from typing import TYPE_CHECKING, Any

from argosy.cli.options import Parser, add_json, add_platforms, add_tls

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from argosy.content.diff import Change, ImageDiff, PlatformDiff
    from argosy.model.descriptor import Descriptor

HELP = (
    "Compare two images platform by platform: layers, config and annotations. Exits with 8 if they"
    " differ."
)
DIFFERENT = 8
_WIDEST = 60  # characters of a value shown


def arguments(parser: Parser) -> None:
    """The words of `diff`."""
    where = "a reference, oci:…, oci-archive:…, docker-archive:…, local:…"
    parser.add_argument("before", metavar="A", help=where)
    parser.add_argument("after", metavar="B", help="the same forms")
    parser.add_argument("-q", "--quiet", action="store_true", help="only the exit code")
    add_platforms(parser, "only the images of this platform")
    add_json(parser, "print {same, before, after, platforms, images, annotations}")
    add_tls(parser)


async def run(args: argparse.Namespace) -> int:
    """Print the differences; 8 if there are any."""
    from argosy.cli.looking import look_up
    from argosy.cli.session import Session
    from argosy.content.diff import diff

    async with Session(args) as session:
        before = await look_up(session, args.before, args.platforms)
        after = await look_up(session, args.after, args.platforms)
        found = await diff((before.source, before.desc), (after.source, after.desc))
    if args.json:
        from argosy.cli.terminal.table import print_json

        print_json(found.to_json())
    elif not args.quiet:
        from argosy.cli.terminal.visible import visible

        print(visible("\n".join(lines(args.before, args.after, found))))
    return 0 if found.is_same else DIFFERENT


def lines(before: str, after: str, found: "ImageDiff") -> "Iterator[str]":
    """The differences for people: `-` was, `+` is."""
    if found.is_same:
        yield f"the same: {found.before.digest}"
        return
    yield f"- {before}  {found.before.digest}"
    yield f"+ {after}  {found.after.digest}"
    yield from (f"- platform {name}" for name in found.removed)
    yield from (f"+ platform {name}" for name in found.added)
    yield from _changes(found.annotations, "  annotation ")
    for image in found.both:
        yield from _image(image)


def _image(image: "PlatformDiff") -> "Iterator[str]":
    from argosy.cli.terminal.units import human_size

    if image.is_same:
        yield f"  {image.platform}: the same"
        return
    delta = image.size_after - image.size_before
    sign = "+" if delta >= 0 else "-"
    layers = f"{len(image.shared)} layers shared" if image.shared else "no layer shared"
    yield f"  {image.platform}: {layers}, {sign}{human_size(abs(delta))}"
    yield from _layers("-", image.removed)
    yield from _layers("+", image.added)
    yield from _changes(image.config, "    config ")
    yield from _changes(image.annotations, "    annotation ")


def _layers(sign: str, layers: "Sequence[Descriptor]") -> "Iterator[str]":
    from argosy.cli.terminal.units import human_size

    yield from (f"  {sign} layer {d.digest} {human_size(d.size)}" for d in layers)


def _changes(changes: "Sequence[Change]", prefix: str) -> "Iterator[str]":
    for change in changes:
        yield f"{prefix}{change.field}: {_shown(change.before)} → {_shown(change.after)}"


def _shown(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"
