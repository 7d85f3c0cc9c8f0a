# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in a lab's container that has just started: run the smoke notebooks in its server. Usage: smoke.py BASE_URL.

As nbclient would: cell by cell, until one raises an exception that it is not tagged for. Nothing is saved.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import uuid
from typing import Any

import activity
import kernel_client

LONGEST = 500  # characters of an exception


def connected(port):
    """Return the server, as somebody who is logged in."""
    headers = activity.log_in(f"127.0.0.1:{port}")
    server = kernel_client.Server(port, headers.get("Authorization", "").partition(" ")[2])
    name, _equals, value = headers.get("Cookie", "").partition("=")
    # The server compares cookie and header with each other alone (tornado, check_xsrf_cookie).
    server.cookies = {"_xsrf": uuid.uuid4().hex, **({name: value} if name else {})}
    return server


def exception(reply):
    """Return what a traceback ends with, on one line."""
    text = " ".join(f"{reply.get('ename')}: {reply.get('evalue')}".split())
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def run(server, api, notebook, end):
    """Run a notebook. Failure says where it ended."""
    where = notebook["name"]
    try:
        with kernel_client.kernel(server, api, notebook["kernel"], end) as kernel:
            for cell in notebook["cells"]:
                where = f"{notebook['name']}, cell {cell['number']}"
                reply = kernel.run(cell["source"], not cell["raises"])
                if reply["status"] != "ok" and not cell["raises"]:
                    raise kernel_client.Failure(exception(reply))
    except (kernel_client.Failure, OSError, KeyError, TypeError, ValueError) as error:
        late = isinstance(error, kernel_client.Late) and where != notebook["name"]
        raise kernel_client.Failure(f"{where}: {'it does not end in time' if late else error}") from error


def run_all(server: kernel_client.Server, api: str, wanted: dict[str, Any]) -> None:
    began = time.monotonic()
    for notebook in wanted["notebooks"]:
        run(server, api, notebook, began + wanted["seconds"])
    names = ", ".join(notebook["name"] for notebook in wanted["notebooks"])
    print(f"{names} passed in {time.monotonic() - began:.0f} s")


def main(base_url, port=activity.PORT):
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "smoke.json")
    with open(path, encoding="utf-8") as file:
        wanted = json.load(file)
    logging.disable(logging.WARNING)  # what is said of old names for settings is not of the notebooks
    run_all(connected(port), f"{base_url}api/", wanted)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:2], *map(int, sys.argv[2:]))
    except (kernel_client.Failure, OSError, KeyError, ValueError) as error:
        sys.exit(str(error))
