"""A stage being evaluated: instructions applied one by one to variables, config and steps.

Source: Dockerfile reference; where it is silent, BuildKit's dockerfile2llb.
"""

import posixpath
from collections.abc import Callable, Mapping
from functools import singledispatchmethod
from typing import Any, Literal, cast

from argosy.build.dockerfile import checks
from argosy.build.dockerfile.expand import expand, expand_words
from argosy.build.dockerfile.image_config import DEFAULT_PATH, ImageDraft
from argosy.build.dockerfile.instructions import (
    Add,
    Arg,
    Cmd,
    Command,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from argosy.build.dockerfile.lexer import is_one_opening
from argosy.build.dockerfile.mounts import Surroundings, resolve_mount
from argosy.build.dockerfile.plan import (
    CopyStep,
    FromContext,
    InlineMount,
    Origin,
    Pairs,
    RunStep,
    Step,
    WorkdirStep,
)
from argosy.build.dockerfile.source import Fault
from argosy.build.dockerfile.transfer import Around, absolute, display_name, transfer_step
from argosy.model.platform import Platform
from argosy.values import frozen

PROXY_ARGS = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")


@frozen(kw_only=True)
class Surrounding:
    """What a stage is evaluated in."""

    platform: Platform
    escape: str
    scope: Mapping[str, str]  # the global arguments
    build_args: Mapping[str, str]
    origin: Callable[[str], Origin]


class StageState:
    """Mutable, owned by one evaluation; `apply` is the only way in."""

    def __init__(self, draft: ImageDraft, around: Surrounding) -> None:
        self.draft = draft
        self.steps: list[Step] = []
        self.env = draft.env  # the image's variables and the arguments: what words can use
        self.args: dict[str, str | None] = {}
        self._around = around
        self._has_cmd = False

    def continued(self, around: Surrounding) -> "StageState":
        """A state for a stage FROM this one: its variables, arguments and config go on."""
        other = StageState(self.draft.copy(), around)
        other.env = dict(self.env)
        other.args = dict(self.args)
        return other

    def begin_with(self, files: FromContext, start: From) -> None:
        """FROM a directory: its files are the stage's first layer."""
        name = display_name(start.text)
        step = CopyStep(name=name, where=start.where, origin=files, sources=(".",))
        self.steps.append(step)
        self.draft.record(name, layer=True)

    @property
    def escape(self) -> str:
        """The escape character of the file."""
        return self._around.escape

    @singledispatchmethod
    def apply(self, instruction: Instruction) -> None:
        """Evaluate one instruction; Fault if a value of it cannot be used."""
        raise TypeError(type(instruction).__name__)

    def _expand(self, word: str) -> str:
        return expand(word, self.env, self._around.escape)

    @apply.register
    def _arg(self, instruction: Arg) -> None:
        shown = []
        for name, default in instruction.args:
            value = self._arg_value(name, default)
            self.args[name] = value
            if value is not None:
                self.env[name] = value
            shown.append(name if value is None else f"{name}={value}")
        self.draft.record("ARG " + " ".join(shown))

    def _arg_value(self, name: str, default: str | None) -> str | None:
        if name in self._around.build_args:
            return self._around.build_args[name]
        return self._around.scope.get(name) if default is None else self._expand(default)

    @apply.register
    def _env(self, instruction: Env) -> None:
        # All values are of the variables as they were before the instruction.
        pairs = [(self._expand(n), self._expand(v)) for n, v in instruction.pairs]
        for name, value in pairs:
            self.env[name] = value
            self.draft.set_env(name, value)
        self.draft.record("ENV " + " ".join(f"{n}={v}" for n, v in pairs))

    @apply.register
    def _label(self, instruction: Label) -> None:
        pairs = [(self._expand(n), self._expand(v)) for n, v in instruction.pairs]
        self.draft.merge("Labels", dict(pairs))
        self.draft.record("LABEL " + " ".join(f"{n}={v}" for n, v in pairs))

    @apply.register
    def _run(self, instruction: Run) -> None:
        args, mounts = self._command_of(instruction)
        around = Surroundings(
            expand=self._expand,
            workdir=self.draft.workdir,
            origin=self._around.origin,
            cache_namespace=self._around.build_args.get("BUILDKIT_CACHE_MOUNT_NS", ""),
        )
        found = [resolve_mount(flag, around) for flag in instruction.mounts]
        self.steps.append(
            RunStep(
                name=self._run_name(instruction),
                where=instruction.where,
                args=args,
                env=tuple({"PATH": DEFAULT_PATH, **self.env}.items()),
                proxy=self._proxy(),
                cwd=self.draft.workdir,
                user=self.draft.user,
                platform=self._around.platform,
                network=cast("Literal['default', 'none', 'host']", instruction.network),
                security=cast("Literal['sandbox', 'insecure']", instruction.security),
                mounts=(*found, *mounts),
            )
        )
        self.draft.record(" ".join(["RUN", *self._shown_args(), *args]), layer=True)

    def _command_of(self, run: Run) -> tuple[tuple[str, ...], tuple[InlineMount, ...]]:
        """The argv, and a here-document's script where that is the whole command."""
        if not run.command.shell:
            return run.command.words, ()
        text = run.command.words[0]
        if run.heredocs and not is_one_opening(text):
            # The shell reads them itself, so it is given them as they are written.
            text += "".join(f"\n{h.content}{h.name}" for h in run.heredocs)
        elif run.heredocs:
            document = run.heredocs[0]
            text = document.data
            if text.startswith("#!"):
                path = "/dev/pipes/" + posixpath.basename(document.name)
                script = text.encode(errors="replace")
                return (path,), (InlineMount(target=path, data=script),)
        return (*self.draft.shell, text), ()

    def _run_name(self, run: Run) -> str:
        name = display_name(run.text)
        if run.heredocs and run.command.shell and is_one_opening(run.command.words[0]):
            lines = run.heredocs[0].content.strip().splitlines()
            name += f" ({lines[0] if lines else ''}{'...' if len(lines) > 1 else ''})"
        return name

    def _shown_args(self) -> list[str]:
        """Build arguments in a history's text, in the form Docker's users know: |2 A=1 B=2."""
        shown = [f"{n}={self.env.get(n, v or '')}" for n, v in self.args.items()]
        return [f"|{len(shown)}", *shown] if shown else []

    def _proxy(self) -> Pairs:
        """Predefined proxy arguments, in both spellings, unless a variable of that name is set."""
        given = {n.upper(): v for n, v in self._around.build_args.items()}
        pairs = [(n, given[n]) for n in PROXY_ARGS if n in given]
        both = [*pairs, *((n.lower(), v) for n, v in pairs)]
        return tuple((n, v) for n, v in both if n not in self.env)

    @apply.register
    def _transfer(self, instruction: Copy | Add) -> None:
        from_ = instruction.from_ if isinstance(instruction, Copy) else ""
        around = Around(
            expand=self._expand,
            env=self.env,
            workdir=self.draft.workdir,
            origin=self._around.origin(from_) if from_ else FromContext(),
        )
        step, shown = transfer_step(instruction, around)
        self.steps.append(step)
        self.draft.record(shown, layer=True)

    @apply.register
    def _workdir(self, instruction: Workdir) -> None:
        written = self._expand(instruction.path)
        path = absolute(self.draft.workdir, written).rstrip("/") or "/"
        # As BuildKit: an absolute path stays in the config as it is written, `/app/` for one.
        shown = written if written.startswith("/") else path
        self.draft.put("WorkingDir", shown)
        if path != "/":  # the root is always there: no step, so no layer
            self.steps.append(
                WorkdirStep(
                    name=display_name(instruction.text),
                    where=instruction.where,
                    path=path,
                    user=self.draft.user,
                )
            )
        self.draft.record(f"WORKDIR {shown}", layer=path != "/")

    @apply.register
    def _user(self, instruction: User) -> None:
        user = self._expand(instruction.user)
        self.draft.put("User", user)
        self.draft.record(f"USER {user}")

    def _argv(self, command: Command) -> list[str]:
        return [*self.draft.shell, *command.words] if command.shell else [*command.words]

    @apply.register
    def _cmd(self, instruction: Cmd) -> None:
        args = self._argv(instruction.command)
        self.draft.put("Cmd", args)
        self._has_cmd = True
        self.draft.record("CMD " + _quoted(args))

    @apply.register
    def _entrypoint(self, instruction: Entrypoint) -> None:
        args = self._argv(instruction.command)
        self.draft.put("Entrypoint", args)
        if not self._has_cmd:  # a CMD of the base was meant for the base's entrypoint
            self.draft.put("Cmd", None)
        self.draft.record("ENTRYPOINT " + _quoted(args))

    @apply.register
    def _expose(self, instruction: Expose) -> None:
        words = [
            w for p in instruction.ports for w in expand_words(p, self.env, self._around.escape)
        ]
        ports = [port for word in words for port in checks.ports(word)]
        self.draft.merge("ExposedPorts", {port: {} for port in ports})
        self.draft.record(f"EXPOSE [{' '.join(sorted(ports))}]")

    @apply.register
    def _volume(self, instruction: Volume) -> None:
        paths = [self._expand(p) for p in instruction.paths]
        for written, path in zip(instruction.paths, paths, strict=True):
            if not path:
                raise Fault(
                    f"the path {written} of VOLUME comes to nothing",
                    at=written,
                    remedy="set its variables with ARG or ENV above, or give the path",
                )
        self.draft.merge("Volumes", {p: {} for p in paths})
        self.draft.record(f"VOLUME [{' '.join(paths)}]")

    @apply.register
    def _shell(self, instruction: Shell) -> None:
        self.draft.put("Shell", [*instruction.words])
        self.draft.record(f"SHELL [{' '.join(instruction.words)}]")

    @apply.register
    def _stop_signal(self, instruction: StopSignal) -> None:
        signal = checks.signal(self._expand(instruction.signal))
        self.draft.put("StopSignal", signal)
        self.draft.record(f"STOPSIGNAL {signal}")

    @apply.register
    def _healthcheck(self, instruction: Healthcheck) -> None:
        check: dict[str, Any] = {
            "Test": [*instruction.test],
            "Interval": instruction.interval,
            "Timeout": instruction.timeout,
            "StartPeriod": instruction.start_period,
            "StartInterval": instruction.start_interval,
            "Retries": instruction.retries,
        }
        self.draft.put("Healthcheck", {k: v for k, v in check.items() if v})
        self.draft.record(display_name(instruction.text))

    @apply.register
    def _onbuild(self, instruction: Onbuild) -> None:
        # As with BuildKit, no entry in the history: it is in the config, and has done nothing yet.
        self.draft.append("OnBuild", [instruction.trigger])

    @apply.register
    def _maintainer(self, instruction: Maintainer) -> None:
        self.draft.author = instruction.name
        self.draft.record(f"MAINTAINER {instruction.name}")


def _quoted(words: list[str]) -> str:
    """Words as Go's %q shows them: ["nginx" "-g"]."""
    escaped = (w.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for w in words)
    return "[" + " ".join(f'"{w}"' for w in escaped) + "]"
