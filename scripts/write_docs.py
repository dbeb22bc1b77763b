"""`make docs`: write the generated parts of the documentation anew."""

from pathlib import Path

from argosy.access.permissions import describing as access
from argosy.build.dockerfile.lint import page as checks
from argosy.cli.terminal.reference import page
from argosy.server.config.describing import page as settings
from argosy.server.manage import openapi
from argosy.server.manage import page as api
from argosy.server.manage.operations import OPERATIONS

TOP = Path(__file__).resolve().parent.parent


def main() -> None:
    """The reference of the command line, from its parsers; that of the build checks, from them."""
    (TOP / "docs" / "cli.md").write_text(page(), encoding="utf-8")
    (TOP / "docs" / "checks.md").write_text(checks.page(), encoding="utf-8")
    (TOP / "docs" / "settings.md").write_text(settings(), encoding="utf-8")
    guide = TOP / "docs" / "api.md"
    guide.write_text(api.page(guide.read_text(encoding="utf-8"), OPERATIONS), encoding="utf-8")
    roles = TOP / "docs" / "access.md"
    roles.write_text(access.page(roles.read_text(encoding="utf-8")), encoding="utf-8")
    (TOP / "docs" / "openapi.json").write_text(openapi.text(OPERATIONS), encoding="utf-8")


if __name__ == "__main__":
    main()
