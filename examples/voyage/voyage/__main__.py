"""voyage: says where it runs, on the command line and over HTTP."""

import sys

from log import where

from server import ping, serve


def main(words: list[str]) -> int:
    """Run one of the three commands; 2 for any other word."""
    match words:
        case [] | ["where"]:
            print(where())
        case ["serve"]:
            serve(8080)
        case ["ping"]:
            return ping(8080)
        case _:
            print("usage: voyage [where|serve|ping]", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
