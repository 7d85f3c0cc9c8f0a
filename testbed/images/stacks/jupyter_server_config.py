# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
# The image's own settings, which a site's must go before.
from __future__ import annotations

# traitlets puts get_config there
# pylint: disable-next=undefined-variable
c = get_config()  # type: ignore[name-defined]  # noqa: F821
c.ServerApp.ip = ""
c.ServerApp.open_browser = False
c.FileContentsManager.delete_to_trash = False
