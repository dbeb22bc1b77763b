"""What can be asked of a Dockerfile without building it: `--call=check|outline|targets`.

Nothing runs and no layer is fetched. Configs of base images are looked up, since checks
and defaults depend on them; where one cannot be had, what depends on it is left out.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Self

from argosy.build.cache import BuildCache
from argosy.build.dockerfile.evaluate import Bases, base_images
from argosy.build.dockerfile.ignore import Matcher
from argosy.build.dockerfile.lint.findings import Finding, location
from argosy.build.dockerfile.lint.linter import Surroundings, lint, lint_beginning
from argosy.build.dockerfile.outline import VERSION, Offer, Outline, encoded, outline, targets
from argosy.build.dockerfile.parser import Dockerfile, parse, parse_beginning
from argosy.build.dockerfile.plan import BaseImage
from argosy.build.dockerfile.source import Source, SourceRange
from argosy.build.dockerfile.stages import FrontendOptions
from argosy.build.files.tree import Ignore
from argosy.build.graph import Snapshot
from argosy.build.options import BuildOptions, Ends
from argosy.build.pipeline import outside_of
from argosy.build.sources.bases import BaseImages
from argosy.build.sources.contexts import Contexts
from argosy.errors import ArgosyError, DockerfileError, NoMatchingPlatform
from argosy.model.platform import Platform
from argosy.settings import Settings
from argosy.values import frozen


@frozen(kw_only=True)
class Checked:
    """What `--check` found; `error` is what would stop a build before its first step."""

    source: Source
    findings: tuple[Finding, ...]
    error: ArgosyError | None = None
    unseen: tuple[str, ...] = ()  # base images that could not be looked up, and why

    @property
    def status(self) -> int:
        """The exit code: 1 for an error, or for a finding that is more than advice."""
        return int(self.error is not None or any(not f.rule.advice for f in self.findings))

    def to_json(self) -> dict[str, Any]:
        """As BuildKit's frontend.lint gives it."""
        value: dict[str, Any] = {
            "version": VERSION,
            "warnings": [finding.to_json() for finding in self.findings],
            "sources": [
                {
                    "filename": self.source.file,
                    "language": "Dockerfile",
                    "data": encoded(self.source)[0],
                }
            ],
        }
        if self.error:
            value["buildError"] = {"message": self.error.summary, "location": self._where()}
        return value

    def _where(self) -> dict[str, Any]:
        if not isinstance(self.error, DockerfileError):
            return {}
        last = self.error.evidence.get("last_line", self.error.line)
        return location(SourceRange(self.error.file, self.error.line, last))


@frozen(kw_only=True)
class Offered:
    """The targets of a Dockerfile."""

    source: Source
    targets: tuple[Offer, ...]

    def to_json(self) -> dict[str, Any]:
        """As BuildKit's frontend.targets gives it."""
        return {
            "version": VERSION,
            "targets": [offer.to_json() for offer in self.targets],
            "sources": encoded(self.source),
        }


async def call_check(options: BuildOptions, settings: Settings, ends: Ends) -> Checked:
    """Every build check, of the target's stages if one is asked for, else of all."""
    async with _Asked(options, settings, ends) as asked:
        return await asked.check()


async def call_outline(options: BuildOptions, settings: Settings, ends: Ends) -> Outline:
    """What the target takes; DockerfileError if it cannot be evaluated."""
    async with _Asked(options, settings, ends) as asked:
        dockerfile = parse(asked.text, asked.shown)
        known = await asked.looked_up(dockerfile, every=False)
        given = asked.frontend()
        empty: Bases = {image: {} for image in base_images(dockerfile, given, known.bases)}
        return outline(dockerfile, given, {**empty, **known.bases})


async def call_targets(options: BuildOptions, settings: Settings, ends: Ends) -> Offered:
    """The stages that can be built; looks nothing up."""
    async with _Asked(options, settings, ends) as asked:
        dockerfile = parse(asked.text, asked.shown)
        return Offered(source=dockerfile.source, targets=targets(dockerfile))


@dataclass(slots=True)
class _Asked:
    """A Dockerfile with what belongs to it, open while it is asked about."""

    options: BuildOptions
    settings: Settings
    ends: Ends
    text: bytes = b""
    shown: str = ""
    _ignore: Ignore | None = None
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def __aenter__(self) -> Self:
        outside = outside_of(self.options, self.ends, self._state)
        contexts = Contexts(self.options, outside, self.ends.stdin)
        main = await (await self._stack.enter_async_context(contexts)).main()
        self.text, self.shown, self._ignore = main.text, main.shown, main.tree.ignore
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def _state(self) -> str:
        return os.path.join(self.settings.home, "build")

    def frontend(self) -> FrontendOptions:
        """The first platform stands for all: they share the Dockerfile."""
        platform = next(iter(self.options.platforms), None)
        return FrontendOptions(
            platform=platform or Platform.host(),
            build_args=self.options.build_args,
            target=self.options.target,
            contexts=self.options.build_contexts,
        )

    async def check(self) -> Checked:
        try:
            dockerfile = parse(self.text, self.shown)
        except DockerfileError as e:
            above = parse_beginning(self.text, self.shown)
            found = lint_beginning(above, self.options.build_args) if above else ()
            lines = self.text.decode(errors="replace").split("\n")
            return Checked(source=Source(self.shown, tuple(lines)), findings=found, error=e)
        every = not self.options.target
        ignore = self._ignore
        configs = await self.looked_up(dockerfile, every=every)
        around = Surroundings(
            bases=configs.bases,
            ignore=ignore if isinstance(ignore, Matcher) else None,
            platforms=configs.others,
        )
        seen = lint(dockerfile, self.frontend(), around, every_stage=every)
        return Checked(
            source=dockerfile.source,
            findings=seen.findings,
            error=seen.error,
            unseen=tuple(configs.unseen),
        )

    async def looked_up(self, dockerfile: Dockerfile, *, every: bool) -> "_Configs":
        """The base images' configs, as far as they can be had."""
        async with BuildCache(os.path.join(self._state, "cache.db"), _there) as cache:
            resolver = BaseImages(
                self.ends.images,
                self.ends.repository,
                cache,
                pull=self.options.pull,
                layout=self.ends.layout,
            )
            found = _Configs()
            while new := found.missing(dockerfile, self.frontend(), every=every):
                for image in new:
                    await found.look_up(image, resolver)
        return found


@dataclass(slots=True)
class _Configs:
    """Base images' configs, as far as they can be had."""

    bases: dict[BaseImage, Mapping[str, Any]] = field(default_factory=dict)
    others: dict[BaseImage, Sequence[str]] = field(default_factory=dict)
    unseen: list[str] = field(default_factory=list)
    _lacking: set[BaseImage] = field(default_factory=set)

    def missing(
        self, dockerfile: Dockerfile, options: FrontendOptions, *, every: bool
    ) -> list[BaseImage]:
        """The images that have not been asked for yet."""
        try:
            wanted = base_images(dockerfile, options, self.bases, every=every)
        except ArgosyError:
            return []  # the checks say why
        return [image for image in wanted if image not in self._lacking]

    async def look_up(self, image: BaseImage, resolver: BaseImages) -> None:
        """Ask for one; that it cannot be had is no error here."""
        try:
            found = await resolver.resolve_all({image})
        except NoMatchingPlatform as e:
            self.others[image] = [", ".join(e.available)]
            self._lacking.add(image)
        except ArgosyError as e:
            self.unseen.append(f"{image.ref}: {e.summary}")
            self._lacking.add(image)
        else:
            self.bases[image] = found[image].config.raw


async def _there(_snapshot: Snapshot) -> bool:
    return True
