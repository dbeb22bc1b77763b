"""docs/checks.md, made from the rules; a test says when it is behind."""

from argosy.build.dockerfile.lint.rules import RULES, Rule

_HEAD = """\
# Build checks

This page is made from the checks (`make docs`). Every build runs them on the stages it
needs and shows what they find as warnings; `argosy build --check` runs them on all stages
and builds nothing. Names and words are those of Docker's build checks, so what you find
about them elsewhere holds here.

- `argosy build --check .` exits with 1 if anything is found; `--call=check,format=json`
  prints JSON.
- `# check=skip=JSONArgsRecommended,UndefinedVar` at the top of a Dockerfile leaves checks
  out; `skip=all` all of them. `# check=error=true` makes findings fail a build before its
  first step. Several are joined by `;`.
- The build argument `BUILDKIT_DOCKERFILE_CHECK` takes the same words and overrides the file.
- `# check=skip=NAME // why` right above an instruction counts for that instruction alone.
- Checks marked *experimental* run only when asked for: `# check=experimental=NAME`, or `all`.
- What is marked *advice* is shown, but fails nothing.

| check | what it says |
|---|---|
"""


def page() -> str:
    """The whole page."""
    rows = [f"| [{r.name}](#{r.name.lower()}) | {_cell(r)} |\n" for r in RULES]
    return _HEAD + "".join(rows) + "".join(_section(rule) for rule in RULES)


def _cell(rule: Rule) -> str:
    marks = ["experimental"] * rule.experimental + ["advice"] * rule.advice
    return rule.description.replace("|", "\\|") + "".join(f" *({mark})*" for mark in marks)


def _section(rule: Rule) -> str:
    parts = [f"\n## {rule.name}\n\n{rule.description}.\n".replace("..\n", ".\n")]
    if rule.bad:
        parts.append(f"\nFound:\n\n```dockerfile\n{rule.bad}\n```\n")
    if rule.good:
        parts.append(f"\nBetter:\n\n```dockerfile\n{rule.good}\n```\n")
    if rule.url:
        parts.append(f"\n<{rule.url}>\n")
    return "".join(parts)
