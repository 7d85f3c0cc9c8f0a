# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manage users' files in named volumes of a Docker engine.

Volumes are called PREFIX_USER_NAME. This is unambiguous, because escaped names contain no _. The engine makes a volume,
and it belongs to the container's root. Docker has no option to change this, and what it copies from the image at the
first mount depends on the image. So the volume is given to the user here, through descriptors.

The account's engine is not trusted, but it says where a volume is, and root works there. So the directory with the
volume must belong to the account. Then the account could do everything itself that is done here.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from ansible_collections.carrel.jupyter.plugins.module_utils._host import directories, files
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_api import EngineAPI, EngineError
from ansible_collections.carrel.jupyter.plugins.module_utils._host.user_backend import Backend
from ansible_collections.carrel.jupyter.plugins.module_utils._people import user_volumes
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import unescape
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.told import Told

INSTANCE, USER, ARCHIVED = "carrel.instance", "carrel.user", "carrel.archived"


class InUseError(Told):
    """A container uses the volume."""


class EarlierHubError(Told):
    """The engine has volumes of a hub of this name that was removed. Whose they are is in its archive."""


class NamedVolumes(Backend):
    """The volumes of one hub. ROOT is the uid of the container's root on the host."""

    reported = (*Backend.reported, InUseError, EarlierHubError)

    def __init__(self, parameters: Mapping[str, Any], check_mode: bool, uid: int, gid: int, root: int) -> None:
        self.prefix: str = parameters["prefix"]
        super().__init__(parameters, check_mode, f"volumes of {self.prefix}", f"{self.prefix}_", uid, gid)
        self.root = root
        self.leaves = [(name, replace(wanted, maker=root)) for name, wanted in self.leaves]
        self.engine = EngineAPI(parameters["socket"])
        self.volumes: dict[str, dict[str, dict[str, Any]]] = {}

    def open(self) -> None:
        pattern = re.compile(re.escape(self.prefix) + "_([a-z0-9-]+)_(.+)")
        earlier = []
        for volume in self._listed():
            found = pattern.fullmatch(volume["Name"])
            if found and ARCHIVED not in (volume["Labels"] or {}):
                self.volumes.setdefault(found[1], {})[found[2]] = volume
            # A volume without labels is only this hub's if its name says so.
            if self._ours(volume) and (found or volume["Labels"]):
                earlier.append(str(volume["Name"]))
        if earlier and self.identities is not None and not self.identities.begun:
            raise EarlierHubError(user_volumes.earlier(self.prefix, self.parameters["hub_directory"], earlier))

    def _listed(self) -> list[dict[str, Any]]:
        volumes: list[dict[str, Any]] = self.engine.call("GET", "/volumes")["Volumes"] or []
        return sorted(volumes, key=lambda volume: str(volume["Name"]))

    def there(self) -> list[str]:
        """Return users with volumes. Volumes with other labels, such as a compose project's, do not belong to users."""
        return [directory for directory, volumes in self.volumes.items() if any(map(self._ours, volumes.values()))]

    def owner(self, directory: str) -> str | None:
        return unescape(directory)

    def _ours(self, volume: Mapping[str, Any]) -> bool:
        """Whether the volume is this hub's. It has no labels if Docker made it when a container needed it."""
        labels = volume["Labels"] or {}
        plain = volume["Driver"] == "local" and not volume["Options"]
        return plain and labels.get(INSTANCE, None if labels else self.prefix) == self.prefix

    def _of(self, directory: str) -> list[dict[str, Any]]:
        return [volume for volume in self.volumes[directory].values() if self._ours(volume)]

    def make(self, directory: str, user: str) -> None:
        for leaf, wanted in self.leaves:
            with self.reporting():
                self._ensure(f"{self.stem}{directory}_{leaf}", user, self.volumes.get(directory, {}).get(leaf), wanted)

    def _ensure(self, name: str, user: str, volume: dict[str, Any] | None, wanted: directories.Wanted) -> None:
        new = volume is None
        if volume is None:
            if self.check_mode:
                self.note(name, "", str(wanted))
                return
            volume = self._create(name, user)
        if not self._ours(volume):
            raise directories.ForeignOwnerError(
                f"the volume {name} has another driver, options or labels than a user's and is left as it is: remove it"
            )
        path = volume["Mountpoint"]
        with self._parent(volume) as parent:
            # A new volume is not finished yet, even if the container's root is the wanted owner.
            finished = replace(wanted, enforce=new)
            descriptor, before, after = directories.ensure(parent, "_data", path, finished, self.check_mode)
        if descriptor is not None:
            os.close(descriptor)
        self.note(name, "" if new else before, after)

    def _create(self, name: str, user: str, **more: str) -> dict[str, Any]:
        labels = {INSTANCE: self.prefix, USER: user, **more}
        made: dict[str, Any] = self.engine.call("POST", "/volumes/create", {"Name": name, "Labels": labels})
        return made

    @contextlib.contextmanager
    def _parent(self, volume: Mapping[str, Any]) -> Iterator[int]:
        """Open the directory that contains a volume's _data."""
        above = os.path.dirname(volume["Mountpoint"])
        descriptor = files.open_directory(above)
        try:
            uid = os.fstat(descriptor).st_uid
            if uid != self.root:
                raise directories.ForeignOwnerError(
                    f"{above} belongs to {uid} and not to {self.root}, which runs the engine: do the account and the "
                    "socket belong to the same engine?"
                )
            yield descriptor
        finally:
            os.close(descriptor)

    def archive(self, directory: str, user: str) -> None:
        """Archive a user's volumes. Docker cannot rename them, so their data is moved into new ones in one step."""
        volumes = self._of(directory)
        for volume in volumes:
            if self.engine.call("GET", "/containers/json", volume=[volume["Name"]]):
                raise InUseError(f"the volume {volume['Name']} is in use: stop the user's server first")
        stamp = self.stamp()
        for volume in volumes:
            self.before.append(volume["Name"])
            self.after.append(f"{volume['Name']}.archived-TIME")
            if not self.check_mode:
                self._archive_one(volume, user, stamp)
        self.archived[user] = ", ".join(f"{volume['Name']}.archived-{stamp}" for volume in volumes)
        del self.volumes[directory]

    def _archive_one(self, volume: Mapping[str, Any], user: str, stamp: str) -> None:
        with self._parent(volume) as old:
            # If a run was killed before the removal, the data was moved already.
            if "_data" in os.listdir(old):
                target = self._create(f"{volume['Name']}.archived-{stamp}", user, **{ARCHIVED: stamp})
                with self._parent(target) as new:
                    os.rename("_data", "_data", src_dir_fd=old, dst_dir_fd=new)
        self._remove(volume)

    def delete(self, directory: str, user: str) -> None:
        for volume in self._of(directory):
            if not self.check_mode:
                self._remove(volume)
            self.before.append(volume["Name"])
        self.deleted.append(user)

    def expire(self, before: float, keep: Mapping[str, str]) -> None:
        for volume in self._listed():
            labels = volume["Labels"] or {}
            stamp, user = labels.get(ARCHIVED), str(labels.get(USER))
            if stamp is None or not self._ours(volume):
                continue
            try:
                moment = user_volumes.archived_at(str(stamp))
            except ValueError:
                continue
            if not self.expired(moment, before, user if user in keep.values() else None):
                continue
            with self.reporting():
                if not self.check_mode:
                    self._remove(volume)
                self.before.append(volume["Name"])
                self.deleted.append(user)

    def _remove(self, volume: Mapping[str, Any]) -> None:
        try:
            self.engine.call("DELETE", f"/volumes/{quote(volume['Name'])}")
        except EngineError as error:
            if error.status != 409:
                raise
            raise InUseError(f"{error}: stop the user's server, or remove the container that uses it, first") from error
