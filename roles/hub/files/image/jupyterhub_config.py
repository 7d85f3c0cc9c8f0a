# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""JupyterHub's configuration. carrel_hub.config and carrel_hub.configuration decide all of it."""

from __future__ import annotations

import sys

from ansible_collections.carrel.jupyter.plugins.module_utils._shared import log_tokens
from carrel_hub import shares
from carrel_hub.configuration import configure
from carrel_hub.files import DIRECTORY, STATE, read_json

log_tokens.install()
shares.install()
# traitlets defines get_config here.
# pylint: disable-next=undefined-variable
config = get_config()  # type: ignore[name-defined]  # noqa: F821
whole = configure(read_json(DIRECTORY / "config.json"), read_json(DIRECTORY / "secrets.json"), STATE, config)
if whole.problems:
    sys.exit("hub: " + "\nhub: ".join(map(str, whole.problems)))
