"""Completion scripts: what never changes is in the script, names are asked of `argosy __complete`.

The scripts are made from the parsers, so they cannot fall behind.
"""

import argparse

from argosy.cli import verbs
from argosy.cli.main import parser
from argosy.cli.terminal.help import visible

_BASH = r"""# completion of argosy for bash
_argosy() {
  local line="${COMP_LINE:0:COMP_POINT}" verb="" flags="" more="" word typed rest i
  # COMP_WORDS breaks at the colons and equal signs of references: take the words as typed.
  local -a words
  read -ra words <<< "$line"
  case "$line" in *[[:space:]]) words+=("") ;; esac
  local last=$(( ${#words[@]} - 1 ))
  typed="${words[last]}"
  for (( i = 1; i < last; i++ )); do
    word="${words[i]}"
    case "$word" in -*) continue ;; esac
    case "$verb $word" in
@PAIRS@
      " $word") verb="$word" ;;
    esac
  done
  COMPREPLY=()
  case "$verb" in
    "") COMPREPLY=( $(compgen -W "@VERBS@" -- "$typed") ); return ;;
@CASES@
  esac
  case "$typed" in
    -*) COMPREPLY=( $(compgen -W "$flags" -- "$typed") ) ;;
    *) COMPREPLY=( $(compgen -W "$more $(argosy __complete "$verb" "$typed" 2>/dev/null)" -- "$typed") ) ;;
  esac
  # bash replaces only what follows the last word break.
  rest="${typed%"${typed##*[:=]}"}"
  if [[ -n "$rest" && "$COMP_WORDBREAKS" == *:* ]]; then
    COMPREPLY=( "${COMPREPLY[@]#"$rest"}" )
  fi
}
complete -o default -o bashdefault -F _argosy argosy
"""

_ZSH = r"""#compdef argosy
# completion of argosy for zsh
_argosy() {
  local verb="${words[2]}" typed="${words[CURRENT]}"
  local -a flags names verbs seconds
  if (( CURRENT == 2 )); then
    verbs=(
@VERBS@
    )
    _describe verb verbs
    return
  fi
  if (( CURRENT == 3 )); then
    case "$verb" in
@SECONDS@
    esac
    compadd -- $seconds
  fi
  case "${words[2]} ${words[3]}" in
@PAIRS@
  esac
  case "$verb" in
@CASES@
  esac
  if [[ "$typed" == -* ]]; then
    compadd -- $flags
    return
  fi
  names=(${(f)"$(argosy __complete "$verb" "$typed" 2>/dev/null)"})
  compadd -- $names
  _files
}
if [ "$funcstack[1]" = "_argosy" ]; then _argosy "$@"; else compdef _argosy argosy; fi
"""


def script(shell: str) -> str:
    """The completion script of a shell."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]()


def flags_of(made: argparse.ArgumentParser) -> list[str]:
    """Every long flag of a verb, and the short ones that have no long form."""
    found = []
    for action in made._actions:  # noqa: SLF001 - argparse offers no other way to ask
        if action.option_strings and visible(action):
            long = [name for name in action.option_strings if name.startswith("--")]
            found += long or list(action.option_strings)
    return found


def first_words() -> list[str]:
    """What may follow `argosy`: verbs, the first words of two-word verbs, one-word aliases."""
    single = [alias for alias in verbs.ALIASES if " " not in alias]
    return sorted({*(verb.name.split()[0] for verb in verbs.VERBS), *single})


def _two_words() -> list[tuple[str, str]]:
    return [(v.name.split()[0], v.name.split()[1]) for v in verbs.VERBS if " " in v.name]


def _groups() -> dict[str, str]:
    """The second words that may follow a first one."""
    found: dict[str, list[str]] = {}
    for head, second in _two_words():
        found.setdefault(head, []).append(second)
    return {head: " ".join(seconds) for head, seconds in found.items()}


def _bash() -> str:
    groups = _groups()
    own = {verb.name for verb in verbs.VERBS}
    heads = [
        f'    "{head}") COMPREPLY=( $(compgen -W "{seconds}" -- "$typed") ); return ;;'
        for head, seconds in groups.items()
        if head not in own
    ]
    cases = [
        # Where a verb has its own arguments as well, the second words stand beside them.
        f'    "{name}") flags="{" ".join(flags)}"; more="{groups.get(name, "")}" ;;'
        for name, flags in _flags()
    ]
    pairs = [f'      "{head} {second}") verb="{head} {second}" ;;' for head, second in _two_words()]
    return _filled(_BASH, cases=[*heads, *cases], pairs=pairs, verbs=[" ".join(first_words())])


def _zsh() -> str:
    own = {verb.name: verb.help for verb in verbs.VERBS}
    groups = _groups()
    told = {
        head: own.get(head, f"{seconds.replace(' ', ', ')}") for head, seconds in groups.items()
    }
    told = {**{name: text for name, text in own.items() if " " not in name}, **told}
    heads = [f"      '{name}:{_plain(text)}'" for name, text in sorted(told.items())]
    cases = [f'    "{name}") flags=({" ".join(flags)}) ;;' for name, flags in _flags()]
    pairs = [f'    "{head} {second}") verb="{head} {second}" ;;' for head, second in _two_words()]
    seconds = [f'    "{head}") seconds=({words}) ;;' for head, words in groups.items()]
    return _filled(_ZSH, cases=cases, pairs=pairs, verbs=heads, seconds=seconds)


def _plain(text: str) -> str:
    """Help that may stand between single quotes of any shell, and after zsh's colon."""
    return text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}").replace(":", " -")


def _filled(template: str, **parts: list[str]) -> str:
    for name, lines in parts.items():
        template = template.replace(f"@{name.upper()}@", "\n".join(lines))
    return template


def _flags() -> list[tuple[str, list[str]]]:
    """The flags of each verb, and of each alias that is one word."""
    found = [(verb.name, flags_of(parser(verb))) for verb in verbs.VERBS]
    for alias, meant in verbs.ALIASES.items():
        call = verbs.find(meant.split())
        if " " not in alias and call is not None:
            found.append((alias, flags_of(parser(call.verb))))
    return found


def _fish() -> str:
    lines = ["# completion of argosy for fish"]
    heads = " ".join(first_words())
    for head, words in _groups().items():
        if verbs.find([head]) is None:
            lines.append(
                f"complete -c argosy -n 'not __fish_seen_subcommand_from {heads}' -f -a {head}"
                f" -d '{words.replace(' ', ', ')}'"
            )
    for verb in verbs.VERBS:
        head, _, second = verb.name.partition(" ")
        if not second:
            lines.append(
                f"complete -c argosy -n 'not __fish_seen_subcommand_from {heads}' -f -a {head}"
                f" -d '{_plain(verb.help)}'"
            )
        seen = f"__fish_seen_subcommand_from {head}"
        if second:
            lines.append(f"complete -c argosy -n '{seen}' -f -a {second} -d '{_plain(verb.help)}'")
            seen += f"; and __fish_seen_subcommand_from {second}"
        for flag in flags_of(parser(verb)):
            kind = f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
            lines.append(f"complete -c argosy -n '{seen}' {kind}")
    lines.append(
        "complete -c argosy -n 'test (count (commandline -opc)) -gt 1'"
        " -a '(argosy __complete (commandline -opc)[2] (commandline -ct))'"
    )
    return "\n".join(lines) + "\n"
