# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in the server, beside jupyter_server_config.json, which has the settings."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
import log_tokens

sys.path.pop()
log_tokens.install()
