"""Make CURVE keys: ``make_keys.py DIRECTORY NAME [NAME ...]``, a pair ``NAME.key``, ``NAME.key_secret`` for each name.

One name for each program that sends or receives: ``make_keys.py keys detector positions daemon viewer``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from streams.errors import KeyFileError
from streams.sockets.keys import make_keys


def main() -> int:
    parser = argparse.ArgumentParser(description="Make CURVE keys for sockets.")
    parser.add_argument("directory", type=Path, help="where to write; made if it is missing")
    parser.add_argument("names", nargs="+", metavar="name", help="one for each program: detector daemon viewer")
    arguments = parser.parse_args()
    try:
        arguments.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in arguments.names:
            public, secret = make_keys(arguments.directory, name)
            print(f"{public}  give it to the other end")
            print(f"{secret}  keep it where {name} runs")
    except (KeyFileError, OSError) as fault:
        print(f"make_keys: {fault}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
