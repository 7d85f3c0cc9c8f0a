# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Health check of a lab's container: does the server answer? Usage: healthcheck.py BASE_URL."""

import json
import sys
import urllib.request


def version(base_url, port=8888, timeout=8):
    """Return the version that jupyter_server tells at /api, which needs no login."""
    url = f"http://127.0.0.1:{port}{base_url}api"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=timeout) as answer:
        return json.load(answer)["version"]


if __name__ == "__main__":
    try:
        print("jupyter_server", version(sys.argv[1]))
    except (OSError, KeyError, ValueError) as error:
        sys.exit(f"the server does not answer: {error}")
