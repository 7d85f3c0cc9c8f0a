# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in the server: people log in with the declared password or token, whatever else sets one.

An image's command line overrides every configuration, and a configuration in its working directory may do so, too. So a
subclass of the server's own class reads both from the file beside this one, after everything else has been read.
"""

from __future__ import annotations

import contextlib
import json
import os

DIRECTORY = os.path.dirname(os.path.abspath(__file__))
NOTE = "carrel-access.json"


def declared():
    """Return the password's hash and the token; one of them may be empty."""
    with open(os.path.join(DIRECTORY, "jupyter_server_config.json"), encoding="utf-8") as file:
        server = json.load(file)["ServerApp"]
    return server["password"], server["token"]


def note(runtime_directory):
    """Leave a note for started.py that this server uses the declared password and token."""
    with contextlib.suppress(OSError):
        os.makedirs(runtime_directory, mode=0o700, exist_ok=True)
        path = os.path.join(runtime_directory, NOTE)
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump({"pid": os.getpid()}, file)
        os.replace(path + ".new", path)


def install(config):
    try:
        from jupyter_server.auth.identity import PasswordIdentityProvider
    except ImportError:  # 1.x
        config.ServerApp.login_handler_class = login_handler()
        return

    class Declared(PasswordIdentityProvider):
        def __init__(self, **arguments):
            super().__init__(**arguments)
            self.hashed_password, self.token = declared()
            self.allow_password_change = False
            note(self.parent.runtime_dir)

    config.ServerApp.identity_provider_class = Declared


def login_handler():
    from jupyter_server.auth.login import LoginHandler

    class Declared(LoginHandler):
        @classmethod
        def validate_security(cls, app, ssl_options=None):
            app.password, app.token = declared()
            app.allow_password_change = False
            app.web_app.settings.update(password=app.password, token=app.token, allow_password_change=False)
            note(app.runtime_dir)
            super().validate_security(app, ssl_options=ssl_options)

    return Declared
