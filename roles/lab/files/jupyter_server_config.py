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
config = globals()["get_config"]()  # the server defines it for its configuration files
carrel_access.install(config)
settings = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
full_home.configure(config, settings["ServerApp"]["root_dir"])
