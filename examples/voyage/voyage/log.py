"""The line of the log: which machine this is."""

import os
import platform


def where() -> str:
    """One line: machine, built-for platform, version."""
    built_for = os.environ.get("VOYAGE_PLATFORM", "nowhere")
    version = os.environ.get("VOYAGE_VERSION", "dev")
    return f"ahoy from {platform.machine()}, built for {built_for}, version {version}"
