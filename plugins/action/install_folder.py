# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack the folder on the control node, and send it only if the host does not have it."""

from __future__ import annotations

import contextlib
import io
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from ansible.errors import AnsibleActionFail, AnsibleFileNotFound
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.carrel.jupyter.plugins.plugin_utils._folder import mode, stays_link

MODULE = "carrel.jupyter.install_folder"


def pack(folder: Path, files: Mapping[str, str], stream: IO[bytes]) -> None:
    """Write the folder, and FILES by their paths in it, as an archive in which everything is root's."""

    def member(name: str, its_mode: int) -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.mode = its_mode
        return info

    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if "__pycache__" in path.parts or name in files:
                continue
            if stays_link(path, folder):
                link = member(name, 0o777)
                link.type, link.linkname = tarfile.SYMTYPE, str(path.readlink())
                archive.addfile(link)
            elif path.is_dir():
                directory = member(name, 0o755)
                directory.type = tarfile.DIRTYPE
                archive.addfile(directory)
            elif path.is_file():
                info = member(name, mode(path))
                info.size = path.stat().st_size
                with path.open("rb") as content:
                    archive.addfile(info, content)
        for name, text in sorted(files.items()):
            info = member(name, 0o644)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))


class ActionModule(ActionBase):
    TRANSFERS_FILES = True
    _VALID_ARGS = frozenset(("src", "dest", "files", "alone"))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        folder, dest = self._find(self._task.args["src"]), self._task.args["dest"]
        arguments = {"src": str(folder), "dest": dest, "alone": self._task.args.get("alone", False)}
        if boolean(arguments["alone"]):
            self._check_apart(folder, Path(dest).parent)
        result.update(self._execute_module(MODULE, arguments, task_vars=task_vars))
        if result.get("failed") or not result["missing"] or self._task.check_mode:
            return result
        with tempfile.NamedTemporaryFile(suffix=".tar") as local:
            pack(folder, self._task.args.get("files") or {}, local)
            local.flush()
            # Ansible has made this folder, and removes it after the task.
            remote = self._connection._shell.join_path(self._connection._shell.tmpdir, "folder.tar")
            self._transfer_file(local.name, remote)
            self._fixup_perms2((self._connection._shell.tmpdir, remote))
        result.update(self._execute_module(MODULE, {**arguments, "archive": remote}, task_vars=task_vars))
        return result

    def _check_apart(self, folder: Path, above: Path) -> None:
        """The host may be the control node."""
        if above.resolve() in (folder.resolve(), *folder.resolve().parents):
            raise AnsibleActionFail(
                f"{folder} is in {above}, whose old folders are removed on the host: move the folder on the control"
                " node, or choose another directory on the host"
            )

    def _find(self, src: str) -> Path:
        """Find a file as Ansible does for a task: in the role or beside the playbook."""
        with contextlib.suppress(AnsibleFileNotFound):
            folder = Path(self._find_needle("files", src))
            if folder.is_dir():
                return folder
        raise AnsibleActionFail(f"{src} is not a folder on the control node")
