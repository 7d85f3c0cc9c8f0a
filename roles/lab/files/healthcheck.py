# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Health check of a lab's container: does the server answer, and only to people who have logged in?

Usage: healthcheck.py BASE_URL [PORT]. It exits with 3 if anybody is let in. An image's command line may remove the
password and the token, and overrides every configuration
(https://traitlets.readthedocs.io/en/stable/config.html).
"""

from __future__ import annotations

import http.client
import json
import sys

PORT = 8888
OPEN = 3
PRIVATE = ("api/contents", "api/sessions", "api/kernels", "api/terminals")
# The last one: the server lacks this part, such as terminals.
REFUSED = (301, 302, 303, 307, 401, 403, 404)


class OpenError(Exception):
    """The server lets anybody in; the text names the page."""


def get(path, port=PORT, timeout=8, token=None):
    """Return the status and the text of an answer, without following redirects."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Authorization": f"token {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.read(1 << 20).decode("utf-8", "replace")
    except http.client.HTTPException as error:
        raise OSError(type(error).__name__) from error
    finally:
        connection.close()


def version(base_url, port=PORT):
    """Return jupyter_server's version from /api, which needs no log-in."""
    status, text = get(base_url + "api", port)
    if status != 200:
        raise ValueError(f"{base_url}api answers with status {status}")
    return json.loads(text)["version"]


def shows_login_page(base_url, port=PORT):
    """Only people who are not logged in see the form, and unlike a refusal it leaves no line in the server's log."""
    status, text = get(base_url + "login", port)
    return status == 200 and "password" in text


def check_refuses(base_url, port=PORT):
    """Raise OpenError unless every request without a log-in is refused."""
    for page in PRIVATE:
        # Otherwise a server that ends when it is idle would never be idle.
        status, _unused = get(f"{base_url}{page}?no_track_activity=1", port)
        if status < 300:
            raise OpenError(f"{base_url}{page}")
        if status not in REFUSED:
            raise ValueError(f"{base_url}{page} answers with status {status}")


def run(check):
    """Run CHECK and exit with its result."""
    try:
        check()
    except OpenError as error:
        print(
            f"the server lets in anybody who does not log in: it answers at {error}. The image's command, or a program"
            " that the image starts, removes the password and the token; write a command that does not"
        )
        sys.exit(OPEN)
    except (OSError, KeyError, TypeError, ValueError) as error:
        sys.exit(f"the server does not answer: {error}")


def main(base_url, port=PORT):
    found = version(base_url, port)
    if not shows_login_page(base_url, port):
        check_refuses(base_url, port)
    print("jupyter_server", found)


if __name__ == "__main__":
    run(lambda: main(sys.argv[1], *map(int, sys.argv[2:])))
