# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check settings with the jupyter_server of an image. Runs in the image's own Python, in a container.

Standard input is {"mark": TEXT, "settings": {CLASS: {TRAIT: VALUE}}}. The line with the answer begins with the mark.
The server is set up as usual, with the image's own configuration and extensions, but does not listen.
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
# Modules that a server imports only when it needs them: for users' kernels, and to export notebooks.
LATE = ("jupyterhub.singleuser.extension", "nbconvert.exporters", "nbconvert.preprocessors", "nbconvert.writers")


class Heard(logging.Handler):
    """Keeps the last message before the server ended."""

    def __init__(self) -> None:
        super().__init__(logging.CRITICAL)
        self.text: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


def set_up(settings: dict[str, Any]) -> str | None:
    """Set up the server with the settings. Return its message if this fails."""
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
        except (Exception, SystemExit) as error:  # classes may raise anything; traitlets' own errors end the program
            return heard.text or f"{type(error).__name__}: {error}"
    return None


def subclasses(cls: Any) -> set[Any]:
    found: set[Any] = set()
    for each in cls.__subclasses__():
        found |= {each} | subclasses(each)
    return found


def refused(trait: Any, value: Any) -> str | None:
    """Return a trait's complaint about a value. None if it accepts the value."""
    if not hasattr(trait, "validate") or (value is None and trait.allow_none):
        return None
    try:
        trait.validate(importlib.import_module("traitlets").HasTraits(), value)
    except Exception as error:  # TraitError, or anything that a class raises
        return re.sub(r"(trait) of (an? \w+|<[^>]*>) instance", r"\1", str(error))
    return None


def answer(settings: dict[str, dict[str, Any]]) -> dict[str, Any]:
    said = set_up(settings)
    for module in LATE:
        with contextlib.suppress(Exception):  # not all images have the module
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
    """Print the answer and end the process, because extensions may have started threads that never end.

    The mark begins a new line, because extensions may have printed something.
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
