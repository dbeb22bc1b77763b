"""`argosy completion`, and the hidden `argosy __complete` the scripts ask."""

import argparse

from argosy.cli.options import Parser

HELP = (
    "Print the completion script of a shell: verbs, flags, files, and names of local images and of"
    " repositories and tags. bash: `source <(argosy completion bash)`; zsh: write it to `_argosy` in"
    " $fpath; fish: `argosy completion fish | source`."
)


def arguments(parser: Parser) -> None:
    """The words of `completion`."""
    parser.add_argument(
        "shell", metavar="SHELL", choices=("bash", "zsh", "fish"), help="bash, zsh or fish"
    )


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    from argosy.cli.terminal.shells import script

    print(script(args.shell), end="")
    return 0
