"""Which forms a build is written in: what its outputs ask for, and what they may ask together."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from argosy.build.annotations import Annotations
from argosy.build.dockerfile.source import Fault
from argosy.build.dockerfile.words import boolean
from argosy.build.layers.compression import Compression
from argosy.build.options import BuildOptions, Output
from argosy.build.output_words import Wish
from argosy.build.results.forms import Form, LayerForm
from argosy.errors import UsageError
from argosy.model.reference import Reference

T = TypeVar("T")
_IMAGES = ("registry", "image", "oci", "docker")


def outputs_of(options: BuildOptions) -> tuple[Output, ...]:
    """The outputs with `--push` in them, as buildx has it: images are pushed, one is added if none is."""
    if not options.push:
        return options.outputs
    pushed = [replace(o, kind="registry") if o.kind == "image" else o for o in options.outputs]
    if not any(o.kind == "registry" for o in pushed):
        pushed.append(Output(kind="registry", wish=_first_wish(options)))
    return tuple(pushed)


def primary(options: BuildOptions) -> Output | None:
    """The output whose form is that of the result: the first that is an image."""
    return next((o for o in options.outputs if o.kind in _IMAGES), None)


def _first_wish(options: BuildOptions) -> Wish:
    first = primary(options)
    return first.wish if first else Output(kind="image").wish


def form_of(options: BuildOptions, epoch: int | None, output: Output | None = None) -> Form:
    """The form of an output's image; of the result without one."""
    output = output or primary(options) or Output(kind="image")
    wish = output.wish
    return Form(
        layers=LayerForm(
            compression=wish.compression or Compression(), epoch=layer_epoch(options, epoch)
        ),
        epoch=epoch,
        recompresses_bases=wish.recompresses_bases,
        docker_types=wish.docker_types,
        annotations=Annotations.parse(options.annotations) + wish.annotations,
        always_index=_always_index(options),
    )


def _always_index(options: BuildOptions) -> bool:
    given = options.build_args.get("BUILDKIT_MULTI_PLATFORM", "")
    try:
        return bool(given) and boolean("BUILDKIT_MULTI_PLATFORM", given)
    except Fault as e:
        raise UsageError(f"build argument {e.summary}") from e


def forms_of(options: BuildOptions, epoch: int | None) -> tuple[Form, ...]:
    """Every form that is needed, each once; the result's own is the first."""
    wanted = [o for o in outputs_of(options) if o.kind in _IMAGES]
    return tuple(
        dict.fromkeys([form_of(options, epoch), *(form_of(options, epoch, o) for o in wanted)])
    )


def output_epoch(outputs: Sequence[Output]) -> int | None:
    """The time the outputs ask for. A build has one, since its history is written once."""
    return _agreed((o.wish.epoch for o in outputs), "source-date-epoch")


def layer_epoch(options: BuildOptions, epoch: int | None) -> int | None:
    """The time that files in layers are not newer than: SOURCE_DATE_EPOCH, unless told not to."""
    rewrites = _agreed((o.wish.rewrites_times for o in options.outputs), "rewrite-timestamp")
    if rewrites and epoch is None:
        raise UsageError(
            "rewrite-timestamp needs a time to rewrite to", remedy="set SOURCE_DATE_EPOCH"
        )
    return epoch if rewrites is None or rewrites else None


def check_together(options: BuildOptions) -> None:
    """UsageError for outputs that contradict each other, or names that cannot be."""
    output_epoch(options.outputs)
    for output in options.outputs:
        if output.wish.by_digest:
            _check_tagless([*options.tags, *output.names])
        if output.wish.docker_types and options.annotations:
            raise UsageError(
                "annotations need OCI media types", remedy="leave oci-mediatypes=false away"
            )
        if output.wish.mode == "delete" and output.wish.splits is False:
            raise UsageError("mode=delete needs a directory for each platform")


def _check_tagless(names: Iterable[str]) -> None:
    for name in names:
        if Reference.parse(name).tag:
            raise UsageError(
                f"{name} cannot be pushed by digest",
                why="it has a tag",
                remedy="leave the tag away",
            )


def _agreed(wanted: Iterable[T | None], word: str) -> T | None:
    found = {value for value in wanted if value is not None}
    if len(found) > 1:
        raise UsageError(
            f"the outputs want different values of {word}",
            why="a build has one history, with one time",
            remedy="build twice, or give one value",
        )
    return next(iter(found), None)
