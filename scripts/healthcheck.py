#!/usr/bin/env python3
"""Ends with 0 if the gateway is in good health, with 1 if it isn't or doesn't answer: healthcheck.py [URL]"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

URL = "http://127.0.0.1:4290/health"


def main(arguments: list[str]) -> int:
    # A proxy named in the environment may well be this gateway; its health is not asked for through itself.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(arguments[0] if arguments else URL, timeout=3):
            return 0
    except urllib.error.HTTPError as error:
        with error:
            print(f"unhealthy: status {error.code}", file=sys.stderr)
    except OSError as error:
        print(f"unhealthy: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
