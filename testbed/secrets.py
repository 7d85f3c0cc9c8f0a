# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets of many shapes. Ansible logs a list or a dictionary as text, in which each is written otherwise."""

from __future__ import annotations

import yaml

MARK = "xq7SECRET"
SECRETS = {
    "plain": MARK,
    "line end": f"A='{MARK}'\n",
    "lines": f"first\n{MARK}\nlast",
    "quotes": f'it\'s "{MARK}"',
    "backslash": f"C:\\new\\{MARK}",
    "braces": f"{{{{ {MARK} }}}} {{% x %}}",
    "dollar": f"${MARK} $$ ${{A}}",
    "letters": f"ünïcode 🗝 {MARK}",
}


class Unsafe(str):
    """A text of an inventory in which braces mean nothing: `!unsafe` in YAML."""


yaml.SafeDumper.add_representer(Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text)))


def environment() -> dict[str, str]:
    """All of them as variables of an instance."""
    return {f"SHAPE_{number}": Unsafe(secret) for number, secret in enumerate(SECRETS.values())}
