# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test Apache's configuration with changes, in a copy."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping

from ansible_collections.carrel.jupyter.plugins.module_utils._apache import sites as decide
from ansible_collections.carrel.jupyter.plugins.module_utils._apache.sites import CONFDIR, Link
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._host.apache import run, write

INFO_MODULE = "LoadModule info_module /usr/lib/apache2/modules/mod_info.so"


def test(stage: str, desired: decide.Tree, stand_ins: Mapping[str, str]) -> tuple[str, str | None]:
    """Test the configuration with the DESIRED files. Return Apache's dump of it, and its complaint if there is one.

    STAND_INS are files that replace others in the test.
    """
    root = os.path.join(tempfile.mkdtemp(dir=stage), "apache2")
    os.mkdir(root)
    for name in os.listdir(CONFDIR):
        if name in ("sites-enabled", "mods-enabled", "conf-enabled"):
            os.mkdir(f"{root}/{name}")
            for entry in os.listdir(f"{CONFDIR}/{name}"):
                link = os.path.realpath(f"{CONFDIR}/{name}/{entry}")
                os.symlink(link, f"{root}/{name}/{entry}")
        elif name != "apache2.conf":
            os.symlink(f"{CONFDIR}/{name}", f"{root}/{name}")
    with open(f"{CONFDIR}/apache2.conf", encoding="utf-8", errors="surrogateescape") as stream:
        main = re.sub(r'(?mi)^(\s*ServerRoot\s+)"?/etc/apache2/?"?\s*$', rf'\1"{root}"', stream.read())
    write(f"{root}/apache2.conf", decide.file(main))
    for path, node in desired.items():
        if path.startswith(CONFDIR):
            _put(path, root + path[len(CONFDIR) :], node, stand_ins)
    command = ["/usr/sbin/apache2ctl", "-C", INFO_MODULE, "-t", "-D", "DUMP_CONFIG"]
    result = run(command, env={"APACHE_CONFDIR": root, "LC_ALL": "C"})
    return result.output, decide.relevant(result.errors, root) if result.code else None


def _put(path: str, staged: str, node: decide.Node, stand_ins: Mapping[str, str]) -> None:
    if "/sites-available/" in path or "/conf-available/" in path:
        if isinstance(node, File):
            content = decide.text(node)
            for real, made in stand_ins.items():
                content = content.replace(real, made)
            write(staged.replace("-available/", "-enabled/"), decide.file(content))
    elif isinstance(node, Link) and "/mods-enabled/" in path:
        write(staged, Link(os.path.normpath(f"{CONFDIR}/mods-enabled/{node.target}")))
    elif isinstance(node, File):
        write(staged, node)
    elif node is None and os.path.lexists(staged):
        os.unlink(staged)


def live_complaint() -> str | None:
    """Return Apache's complaint about the present configuration, if there is one."""
    result = run(["/usr/sbin/apache2ctl", "-t"])
    return decide.relevant(result.errors) if result.code else None
