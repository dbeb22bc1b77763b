"""Run inside the build stage, on each architecture."""

import os
import platform
import sys
import unittest

sys.path.insert(0, "voyage")

from log import where


class Where(unittest.TestCase):
    """What the line of the log promises."""

    def test_it_names_the_machine(self) -> None:
        """The machine is the one that runs the test."""
        self.assertIn(platform.machine(), where())

    def test_it_names_the_version(self) -> None:
        """The version comes from the environment."""
        os.environ["VOYAGE_VERSION"] = "9.9"
        self.assertIn("version 9.9", where())


if __name__ == "__main__":
    unittest.main()
