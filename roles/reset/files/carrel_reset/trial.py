# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hubs: run the smoke notebooks in a throwaway server from a new image, before anybody's server is from it.

The site playbook has written the compose project, which has a service for each image (_site/hub_smoke.py).
"""

from __future__ import annotations

import contextlib
import json
import os

from . import files
from .engine import EngineError
from .run import ResetError, Run

AT = "/opt/carrel-smoke"
LOG_LINES = 15
LONGEST_SAID = 1000
SPARE_SECONDS = 120  # for the start of the server, and for compose


def attempt(run: Run, tag: str, start_seconds: int) -> None:
    """Try the image that TAG means. ResetError says which notebook failed."""
    directory = f"{run.settings.directory}/smoke"
    project = f"{directory}/compose.yaml"
    # After a failed run the settings may be newer than what is deployed.
    if not run.settings.smoke_seconds or not os.path.isfile(project):
        return
    services = json.loads(files.read(project))["services"]
    name = next((name for name, each in services.items() if each["image"].replace("$$", "$") == tag), None)
    if name is None:
        return
    compose = ["compose", "--project-directory", directory, "--file", project]
    run.step("smoke", f"run the smoke notebooks in a server from the new image of {tag}")
    try:
        said = _run(run, compose, name, services[name]["labels"]["carrel.python"], start_seconds)
    except EngineError as error:
        why = (str(error).partition("\n")[2] or str(error)) + _log(run, compose, name)
        run.state.smoked(f"failed: {tag}: {why}")
        raise ResetError(f"a smoke notebook failed in the new image of {tag}: {why}") from error
    finally:
        with contextlib.suppress(EngineError):
            run.engine.docker(*compose, "down", "--timeout", "1")
    run.state.smoked(said.strip()[-LONGEST_SAID:])


def _run(run: Run, compose: list[str], name: str, python: str, start_seconds: int) -> str:
    run.engine.docker(*compose, "up", "--detach", "--force-recreate", name, timeout=SPARE_SECONDS)
    command = ["exec", "-T", name, python, f"{AT}/trial.py", f"{AT}/{name}.json"]
    return run.engine.docker(*compose, *command, timeout=run.settings.smoke_seconds + start_seconds + SPARE_SECONDS)


def _log(run: Run, compose: list[str], name: str) -> str:
    """What the server wrote, if it has ended."""
    with contextlib.suppress(EngineError):
        if not run.engine.docker(*compose, "ps", "--quiet", "--status", "running", name).strip():
            lines = run.engine.docker(
                *compose, "logs", "--no-log-prefix", "--tail", str(LOG_LINES), name, errors_too=True
            )
            return f"\nThe server has ended. Its last lines:\n{lines}"
    return ""
