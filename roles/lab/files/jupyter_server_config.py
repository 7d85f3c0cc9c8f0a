# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in the server, beside jupyter_server_config.json, which has the settings."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
import carrel_access
import full_home
import log_tokens

sys.path.pop()
log_tokens.install()
carrel_access.install(get_config())  # noqa: F821 - a name that the server gives to its configuration files
settings = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
full_home.configure(get_config(), settings["ServerApp"]["root_dir"])  # noqa: F821
