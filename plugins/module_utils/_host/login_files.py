# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the log-in pages of a lab with its image and its notice, and write them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._host.image_probe import Image, Server
from ansible_collections.carrel.jupyter.plugins.module_utils._shared import login_page

SERVICES = ("lab-1", "lab-2")
NOTICES = ("notice", "notice_html", "template")


class LoginFiles:
    """The log-in pages for an image, in the directory PATH. `stale` has the files that must be written."""

    def __init__(
        self, path: str, services: Sequence[str], notices: Mapping[str, Any], image_name: str, image: Image
    ) -> None:
        self.path = os.path.normpath(path)
        self.compose_file = os.path.join(self.path, "compose.yaml")
        self._notices: dict[str, str | None] = {option: notices.get(option) for option in NOTICES}
        self._image_name, self.image, self._service = image_name, image, services[0]
        self.pages = self._pages()
        self._directory = os.path.join(self.path, login_page.digest(list(self.pages.items())))
        self.mounts = [
            (os.path.join(self._directory, f"{number}.html"), target) for number, target in enumerate(self.pages)
        ]
        wanted = {source: self.pages[target] for source, target in self.mounts}
        wanted[os.path.join(self.path, "source.json")] = self._provenance()
        wanted[self.compose_file] = login_page.compose_fragment(services, self.mounts)
        self._wanted = {path: File(text.encode()) for path, text in wanted.items()}
        self._mounted: dict[str, str] = {}
        self.stale: dict[str, File] = {}

    def _pages(self) -> dict[str, str]:
        """Return pages to mount: the path in the image, and the page's text."""
        if all(text is None for text in self._notices.values()):
            return {}
        pages = {server.template: self._page(server) for server in self.image.servers}
        for page in pages.values():
            login_page.check_source(page)
        return pages

    def _page(self, server: Server) -> str:
        if self._notices["template"] is not None:
            return str(self._notices["template"])
        if self._notices["notice"] is not None:
            return login_page.insert_notice(server.text, login_page.notice_from_text(self._notices["notice"]))
        return login_page.insert_notice(server.text, login_page.notice_from_html(str(self._notices["notice_html"])))

    def _provenance(self) -> str:
        source = {
            "image": self._image_name,
            "image_id": self.image.image_id,
            "servers": [
                {"version": server.version, "template": server.template, "upstream_sha256": sha256(server.text)}
                for server in self.image.servers
            ],
            **{f"{option}_sha256": sha256(text) for option, text in self._notices.items() if text is not None},
        }
        return json.dumps(source, indent=2) + "\n"

    def compare(self, tracker: Tracker) -> None:
        before = files.read(self.compose_file)
        fragment = before.content.decode("utf-8", "replace") if before else ""
        self._mounted = login_page.mounted_files(fragment, self._service)
        self._compare_pages(tracker)
        self.stale = {path: file for path, file in self._wanted.items() if _differs(path, file, tracker)}

    def _compare_pages(self, tracker: Tracker) -> None:
        """Note the differences between the pages that visitors see now, mounted or the image's, and the new ones."""
        upstream = {server.template: server.text for server in self.image.servers}
        for target in [*upstream, *sorted(set(self._mounted) - set(upstream))]:
            file = files.read(self._mounted[target]) if target in self._mounted else None
            before = file.content.decode("utf-8", "replace") if file else upstream.get(target)
            tracker.note(f"login page {target}", before, self.pages.get(target, upstream.get(target)))

    def write(self) -> None:
        for path, file in self.stale.items():
            files.write(path, file)
        if self.compose_file in self.stale:
            self._remove_old({self._directory, *map(os.path.dirname, self._mounted.values())})

    def _remove_old(self, keep: set[str]) -> None:
        """Remove old pages, but keep the last ones: a running container may have them mounted."""
        for name in os.listdir(self.path):
            path = os.path.join(self.path, name)
            if re.fullmatch("[0-9a-f]{64}", name) and path not in keep and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _differs(path: str, wanted: File, tracker: Tracker) -> bool:
    current = files.read(path)
    # _compare_pages has put the text of pages into the diff already.
    show = ("", "") if path.endswith(".html") else None
    return tracker.note(path, current and current.describe(), wanted.describe(), show=show)
