# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in a lab's container: prints its kernels and terminals as JSON. Usage: activity.py BASE_URL.

The server requires a log-in, and a server with only a password has no token. So this signs a cookie as the server does
after a log-in, with the server's own secret, which the container's user may read (jupyter_server 1.24 to 2.x).
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.error
import urllib.request

PORT = 8888
NAME = "carrel-reset"


def log_in(host):
    """Return the headers of a request that is logged in."""
    from jupyter_server.serverapp import ServerApp
    from tornado.web import create_signed_value

    app = ServerApp()
    app.load_config_file()
    cookie_name, user = app.config.ServerApp.get("tornado_settings", {}).get("cookie_name"), NAME
    if hasattr(app, "identity_provider_class"):  # 2.x; cookie_secret needs it, too
        provider = app.identity_provider = app.identity_provider_class(parent=app, log=app.log)
        from jupyter_server.auth.identity import User

        cookie_name = provider.cookie_name
        user = provider.user_to_cookie(User(NAME, NAME, NAME, "CR"))
    headers = {}
    token = app.config.IdentityProvider.get("token") or app.config.ServerApp.get("token")
    if token:
        headers["Authorization"] = "token " + token
    # asking for it creates a missing one
    if app.config.ServerApp.get("cookie_secret") or os.path.exists(app.cookie_secret_file):
        name = cookie_name or re.sub("[^A-Za-z0-9]", "-", "username-" + host)
        headers["Cookie"] = name + "=" + create_signed_value(app.cookie_secret, name, user).decode()
    return headers


def ask(url, headers):
    """Return the API's answer; nothing if the server lacks this part, such as terminals."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=20) as answer:  # noqa: S310 - http
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return []
        raise


def activity(base_url, port=PORT):
    host = f"127.0.0.1:{port}"
    headers = log_in(host)
    api = f"http://{host}{base_url}api/{{}}?no_track_activity=1"
    kernels = ("name", "execution_state", "last_activity", "connections")
    terminals = ("name", "last_activity")
    return {
        "kernels": [{key: kernel[key] for key in kernels} for kernel in ask(api.format("kernels"), headers)],
        "terminals": [{key: terminal[key] for key in terminals} for terminal in ask(api.format("terminals"), headers)],
    }


if __name__ == "__main__":
    try:
        print(json.dumps(activity(*sys.argv[1:2], *map(int, sys.argv[2:]))))
    except (OSError, KeyError, ValueError) as error:
        sys.exit(f"the server does not list its kernels and terminals: {error}")
