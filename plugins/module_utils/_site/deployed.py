# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the site playbook wrote for an instance, so that the host itself can find what was changed since then."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._site import server_config

PATH = "/var/lib/carrel/{}/deployed.json"
SERVER_CONFIG = "carrel.server-config"
HUB_CONFIG = "carrel.hub-config"
_VARIABLE = re.compile(r"""^([^=\n]+)=(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\n]*))$""", re.M | re.S)


def described(name: str, wanted: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what install_files writes: WANTED, the RECORD, and last a file that describes WANTED.

    It has digests of secrets, so only root can read it, and no diff shows it. A move and `state: held` write other
    records, so the record is not described.
    """
    secret = wanted["secret_contents"]
    files: dict[str, Any] = dict.fromkeys(wanted.get("absent", []))
    for each in wanted["files"]:
        content = secret.get(each["path"], each.get("content"))
        file = File(content.encode(), int(each.get("mode", "0644"), 8), each.get("owner", 0), each.get("group", 0))
        files[each["path"]] = _facts(file)
    path = PATH.format(name)
    text = json.dumps({"version": 1, "files": files}, indent=1, sort_keys=True) + "\n"
    return {
        **wanted,
        "files": [*wanted["files"], record, {"path": path, "mode": "0600"}],
        "secret_contents": {**secret, path: text},
    }


def same(facts: Mapping[str, Any] | None, file: File | None) -> bool:
    """Whether a file is as described. FACTS are None for a file that must not exist."""
    return facts == (file and _facts(file))


def _facts(file: File) -> dict[str, Any]:
    return {
        "sha256": hashlib.sha256(file.content).hexdigest(),
        "mode": f"{file.mode:04o}",
        "uid": file.uid,
        "gid": file.gid,
    }


def hub_config(config: str, secrets: str) -> str:
    """Return the value of the hub's label. SECRETS is the digest of secrets.json."""
    return hashlib.sha256(f"{config}{secrets}".encode()).hexdigest()


def lab_config(content: bytes | None) -> str:
    """Return the value of a lab's label, from the content of jupyter_server_config.json."""
    return server_config.checksum(server_config.parse(content))


def variables(text: str) -> dict[str, str]:
    """Read what compose.dotenv wrote."""
    found = {}
    for name, single, double, plain in _VARIABLE.findall(text):
        found[name] = re.sub(r"\\(.)", r"\1", double) if double else single.replace("\\'", "'") or plain
    return found
