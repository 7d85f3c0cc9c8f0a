# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices by CDI names, such as graphics cards: https://docs.docker.com/build/building/cdi/."""

from __future__ import annotations

from typing import Any

# A rootless engine has an /etc and a /run of its own and, before Docker 28, sees there only what was there when it
# started; so the first folder is in neither (moby#47676). Docker before 28.2 has to be told that it may.
CDI_OPTIONS: dict[str, Any] = {
    "features": {"cdi": True},
    "cdi-spec-dirs": ["/var/lib/cdi", "/etc/cdi", "/var/run/cdi"],
}
