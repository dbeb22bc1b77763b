"""`python -m argosy.cli` is `argosy`."""

import sys

from argosy.cli.main import main

sys.exit(main())
