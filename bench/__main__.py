"""`make bench`: every benchmark, one after another; tables in bench/results/."""

import sys

from bench import build, catalog, cli, copy, layers, nodes, registry, tokens, zb


def main() -> int:
    """Run all; a benchmark measures, it does not judge."""
    for part in (registry, catalog, tokens, zb, nodes, copy, build, layers, cli):
        print(f"\n== {part.__name__}", flush=True)
        part.main(sys.argv[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
