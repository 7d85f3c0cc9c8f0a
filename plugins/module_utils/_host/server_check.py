# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in a container of an image, by the image's Python: what its jupyter_server makes of settings.

Standard input is {"mark": TEXT, "settings": {CLASS: {TRAIT: VALUE}}}. The line of the answer begins with the mark. The
server is set up as it would be, with the image's own configuration and extensions, but listens to nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import re
import sys
import tempfile
import threading
from typing import Any

SECONDS = 200  # the container must end before the caller gives up waiting
# What a server imports only when it needs it: those of users, and those that export notebooks.
LATE = ("jupyterhub.singleuser.extension", "nbconvert.exporters", "nbconvert.preprocessors", "nbconvert.writers")


class Heard(logging.Handler):
    """The last thing that ended the server."""

    def __init__(self) -> None:
        super().__init__(logging.CRITICAL)
        self.text: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


def set_up(settings: dict[str, Any]) -> str | None:
    """Set the server up with the settings; return what it said if it could not be."""
    heard = Heard()
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "jupyter_server_config.json"), "w", encoding="utf-8") as file:
            json.dump(settings, file)
        os.environ["JUPYTER_CONFIG_PATH"] = folder
        app = importlib.import_module("jupyter_server.serverapp").ServerApp.instance()
        app.log.addHandler(heard)
        options = ["--ServerApp.root_dir=" + folder, "--ServerApp.allow_root=True", "--ServerApp.token=none"]
        try:
            app.initialize(options, new_httpserver=False)
        except (Exception, SystemExit) as error:  # whatever a class raises; traitlets' own errors end the program
            return heard.text or f"{type(error).__name__}: {error}"
    return None


def subclasses(cls: Any) -> set[Any]:
    found: set[Any] = set()
    for each in cls.__subclasses__():
        found |= {each} | subclasses(each)
    return found


def refused(trait: Any, value: Any) -> str | None:
    """A trait's complaint about a value; None if it accepts the value."""
    if not hasattr(trait, "validate") or (value is None and trait.allow_none):
        return None
    try:
        trait.validate(importlib.import_module("traitlets").HasTraits(), value)
    except Exception as error:  # TraitError, and whatever a class raises about a value
        return re.sub(r"(trait) of (an? \w+|<[^>]*>) instance", r"\1", str(error))
    return None


def answer(settings: dict[str, dict[str, Any]]) -> dict[str, Any]:
    said = set_up(settings)
    for module in LATE:
        with contextlib.suppress(Exception):  # not all images have it
            importlib.import_module(module)
    known: dict[str, list[str]] = {}
    complaints = []
    for cls in subclasses(importlib.import_module("traitlets.config").Configurable):
        # Settings of a class apply to its subclasses, too.
        names = {name for each in {cls} | subclasses(cls) for name in each.class_trait_names(config=True)}
        known[cls.__name__] = sorted(names.union(known.get(cls.__name__, [])))
        own = cls.class_traits(config=True)
        for name, value in settings.get(cls.__name__, {}).items():
            text = refused(own.get(name), value)
            if text:
                complaints.append([cls.__name__, name, text])
    return {"classes": known, "refused": complaints, "said": said}


def tell(mark: str, found: dict[str, Any]) -> None:
    """Answer and end: extensions may have started threads that never end.

    The mark begins a line of its own, whatever programs that they started have written before.
    """
    with open(1, "w", encoding="utf-8", closefd=False) as output:
        output.write(f"\n{mark}{json.dumps(found)}\n")
    os._exit(0)


def main() -> None:
    job = json.load(sys.stdin)
    late = {"classes": {}, "refused": [], "said": f"it is not ready after {SECONDS} s"}
    timer = threading.Timer(SECONDS, tell, [job["mark"], late])
    timer.daemon = True
    timer.start()
    with contextlib.redirect_stdout(sys.stderr):
        found = answer(job["settings"])
    tell(job["mark"], found)


if __name__ == "__main__":
    main()
