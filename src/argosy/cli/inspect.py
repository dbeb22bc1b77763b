"""`argosy inspect`."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from argosy.cli.options import Parser, add_json, add_platforms, add_tls

if TYPE_CHECKING:
    from argosy.cli.looking import Found
    from argosy.cli.picture import Picture

HELP = (
    "Show an image: its platforms with digests and sizes, or of one platform its layers. --raw"
    " gives the manifest and --config the image config, byte for byte."
)


def arguments(parser: Parser) -> None:
    """The words of `inspect`."""
    parser.add_argument(
        "image",
        metavar="IMAGE",
        help="a reference, oci:…, oci-archive:…, docker-archive:…, local:…",
    )
    parser.add_argument("--raw", action="store_true", help="the manifest's own bytes")
    parser.add_argument(
        "--config",
        action="store_true",
        help="the image config's own bytes; of an index, of this machine's platform",
    )
    parser.add_argument(
        "--format",
        metavar="TEMPLATE",
        help="a Go template over .Name, .Manifest and .Image, as in imagetools inspect; or json",
    )
    add_json(parser, "print {name, digest, mediaType, size, images, others, annotations}")
    add_platforms(parser, "the image of this platform")
    add_tls(parser)


async def run(args: argparse.Namespace) -> int:
    """Print what was asked for."""
    from argosy.cli.looking import look_up
    from argosy.cli.session import Session

    async with Session(args) as session:
        found = await look_up(session, args.image, args.platforms)
        if args.raw or args.config:
            _write(await (_config(found) if args.config else _raw(found)))
        elif args.format and args.format != "json":
            await _formatted(args, found)
        else:
            await _shown(args, found)
    return 0


async def _raw(found: "Found") -> bytes:
    from argosy.content.verify import read

    return await read(found.source, found.desc)


async def _config(found: "Found") -> bytes:
    from argosy.cli.picture import config_of
    from argosy.model import media

    desc = found.desc
    if media.is_index(desc.media_type):
        from argosy.content.select import pick
        from argosy.model.platform import Platform

        desc = await pick(found.source, desc, Platform.host())
    return (await config_of(found.source, desc))[0]


def _write(body: bytes) -> None:
    # A redirected result has the digest's bytes and no more; on a terminal the prompt wants a line.
    sys.stdout.buffer.write(body)
    if sys.stdout.isatty() and not body.endswith(b"\n"):
        sys.stdout.buffer.write(b"\n")


async def _shown(args: argparse.Namespace, found: "Found") -> None:
    from argosy.cli.picture import picture

    seen = await picture(found.source, found.desc)
    if args.json or args.format:
        from argosy.cli.terminal.table import print_json

        print_json(as_json(args.image, seen))
    else:
        from argosy.cli.terminal.visible import visible

        print(visible("\n".join(_lines(args.image, seen))))


def as_json(name: str, seen: "Picture") -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "name": name,
        "digest": str(seen.desc.digest),
        "mediaType": seen.desc.media_type,
        "size": seen.size,
        "images": [image.to_json() for image in seen.images],
        "others": [other.to_json() for other in seen.others],
        "annotations": dict(seen.view.annotations),
    }


def _lines(name: str, seen: "Picture") -> list[str]:
    from argosy.cli.terminal.table import laid_out
    from argosy.cli.terminal.units import human_size
    from argosy.model import media

    lines = [
        f"Name:       {name}",
        f"Digest:     {seen.desc.digest}",
        f"MediaType:  {seen.desc.media_type}",
        f"Size:       {human_size(seen.size)}",
    ]
    lines += [f"{'Annotation:':11} {k}={v}" for k, v in sorted(seen.view.annotations.items())]
    if media.is_index(seen.desc.media_type):
        rows = [
            (str(i.platform), str(i.desc.digest), human_size(i.size), str(len(i.manifest.layers)))
            for i in seen.images
        ]
        others = [(_what(o), str(o.digest), human_size(o.size), "") for o in seen.others]
        return [*lines, "", *laid_out([("PLATFORM", "DIGEST", "SIZE", "LAYERS"), *rows, *others])]
    image = seen.images[0]
    kind = str(image.platform) if image.platform else f"none ({image.manifest.kind})"
    layers = [(str(d.digest), human_size(d.size), d.media_type) for d in image.manifest.layers]
    lines += [f"Platform:   {kind}", f"Config:     {image.manifest.config.digest}", ""]
    return lines + laid_out([("LAYER", "SIZE", "MEDIATYPE"), *layers])


def _what(entry: Any) -> str:
    from argosy.model import media

    if about := entry.annotations.get(media.ATTESTATION_SUBJECT):
        kind = entry.annotations.get(media.ATTESTATION_TYPE, "attestation")
        return f"{kind} of {about[7:19]}"
    return entry.artifact_type or "index" if media.is_index(entry.media_type) else "artifact"


async def _formatted(args: argparse.Namespace, found: "Found") -> None:
    from argosy.cli.terminal.template import render
    from argosy.content.verify import read

    value: dict[str, Any] = {"name": args.image}
    manifest = json.loads(await read(found.source, found.desc))
    value["manifest"] = {**found.desc.to_json(), **manifest}
    if ".image" in args.format.lower():
        value["image"] = await _images(found)
    print(render(args.format, value))


async def _images(found: "Found") -> Any:
    """The config, or of an index an object from platform to config; as imagetools has it."""
    from argosy.cli.picture import config_of, is_image
    from argosy.content.graph import manifest
    from argosy.model.manifest import Manifest

    view = await manifest(found.source, found.desc)
    if isinstance(view, Manifest):
        return (await config_of(found.source, found.desc))[1].raw
    configs = [
        (await config_of(found.source, entry))[1] for entry in view.manifests if is_image(entry)
    ]
    return {str(config.platform): config.raw for config in configs}
