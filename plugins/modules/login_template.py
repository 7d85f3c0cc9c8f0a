#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: login_template
short_description: Put a notice on the login page of a JupyterLab image
version_added: 0.1.0
author: the carrel.jupyter authors (@carrel)
description:
  - Takes the login page of jupyter_server from wherever the image has it, adds a notice below the form, and writes a
    compose file that mounts the result over the image's page, read-only.
  - An image with several jupyter_server installations gets a page for each, made from its own.
  - The new page is rendered by the image's own jinja2 before it is installed. Unless it has a form with a password
    field, the XSRF field and C(next), the module fails and the pages that were there stay.
  - The pages lie in a directory named after their content and the compose file is replaced last, in one step, so that a
    crash leaves the old state or the new one.
  - Run again after the image was upgraded, it starts from the new image's page.
  - Without O(notice), O(notice_html) and O(template) nothing is mounted.
options:
  path:
    description: The directory of the pages. It is made if it is missing; no part of it may be a symbolic link.
    type: path
    required: true
  services:
    description: The services of the compose project that get the mounts.
    type: list
    elements: str
    default: [lab-1, lab-2]
  notice:
    description:
      - Plain text, shown below the form as it stands. A blank line begins a paragraph.
      - Nothing in it is interpreted, neither HTML nor Jinja.
    type: str
  notice_html:
    description: Trusted HTML, shown below the form. Jinja in it is not interpreted.
    type: str
  template:
    description: The text of a whole page, a Jinja template, that replaces the image's.
    type: str
extends_documentation_fragment:
  - carrel.jupyter.attributes
  - carrel.jupyter.engine
attributes:
  check_mode:
    support: full
    details: Starts the same short-lived containers as a real run; O(cache) is not written.
  diff_mode:
    support: full
  idempotent:
    support: full
notes:
  - The mounts have an effect when the compose project uses the file too, as in
    C(docker compose -f compose.yaml -f login/compose.yaml up -d).
  - Ansible itself interprets braces in a task's options. Take a page with Jinja from a file, by the file lookup.
  - An image that sets C(ServerApp.extra_template_paths) to a directory with its own login page keeps showing that.
seealso:
  - module: carrel.jupyter.lab_image_info
"""

EXAMPLES = r"""
- name: Say on the login page when the service restarts
  carrel.jupyter.login_template:
    image: quay.io/jupyter/minimal-notebook:2025-03-14
    socket: /run/user/1001/docker.sock
    path: /srv/tao/login
    cache: /var/lib/carrel/tao/image.json
    notice: |
      The service restarts daily at 01:25.

      Only your home folder is kept.

- name: Replace the whole page
  carrel.jupyter.login_template:
    image: quay.io/jupyter/minimal-notebook:2025-03-14
    socket: /run/user/1001/docker.sock
    path: /srv/tao/login
    template: "{{ lookup('ansible.builtin.file', 'login.html') }}"

- name: Go back to the image's page
  carrel.jupyter.login_template:
    image: quay.io/jupyter/minimal-notebook:2025-03-14
    socket: /run/user/1001/docker.sock
    path: /srv/tao/login
"""

RETURN = r"""
compose_file:
  description: The compose file with the mounts.
  type: str
  returned: success
  sample: /srv/tao/login/compose.yaml
files:
  description: The pages on the host; empty when nothing is mounted.
  type: list
  elements: str
  returned: success
targets:
  description: The pages in the image over which RV(files) are mounted, in the same order.
  type: list
  elements: str
  returned: success
image_id:
  description: The id of the image whose pages these are.
  type: str
  returned: success
versions:
  description: The versions of the image's jupyter_server installations.
  type: list
  elements: str
  returned: success
"""

import hashlib
import json
import os
import re
import shutil

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._host.image_probe import (
    ENGINE_OPTIONS,
    Engine,
    Image,
    ProbeError,
    Server,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._shared import login_page


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class LoginTemplate:
    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params = module.params
        self.path: str = os.path.normpath(module.params["path"])
        self.compose_file = os.path.join(self.path, "compose.yaml")
        self.engine = Engine.of(module)
        self.tracker = Tracker()

    def run(self) -> None:
        image = self.engine.examine(self.params["cache"], keep=not self.module.check_mode)
        pages = self.pages(image)
        directory = os.path.join(self.path, login_page.digest(list(pages.items())))
        mounts = [(os.path.join(directory, f"{number}.html"), target) for number, target in enumerate(pages)]
        wanted = {source: File(pages[target].encode()) for source, target in mounts}
        wanted[os.path.join(self.path, "source.json")] = File(self.provenance(image).encode())
        fragment = login_page.compose_fragment(self.params["services"], mounts)
        wanted[self.compose_file] = File(fragment.encode())

        before = files.read(self.compose_file)
        mounted = login_page.mounted_files(
            before.content.decode("utf-8", "replace") if before else "", self.params["services"][0]
        )
        self.compare_pages(image, pages, mounted)
        stale = {path: file for path, file in wanted.items() if self.differs(path, file)}
        if stale:
            self.validate(image, pages)
        if not self.module.check_mode:
            for path, file in stale.items():
                files.write(path, file)
            if self.compose_file in stale:
                self.remove_old({directory, *map(os.path.dirname, mounted.values())})
        self.module.exit_json(
            **self.tracker.result(
                compose_file=self.compose_file,
                files=[source for source, target in mounts],
                targets=[target for source, target in mounts],
                image_id=image.image_id,
                versions=[server.version for server in image.servers],
            )
        )

    def pages(self, image: Image) -> dict[str, str]:
        """Target in the image: text of the page to mount over it."""
        if all(self.params[option] is None for option in ("notice", "notice_html", "template")):
            return {}
        pages = {server.template: self.page(server) for server in image.servers}
        for page in pages.values():
            login_page.check_source(page)
        return pages

    def page(self, server: Server) -> str:
        if self.params["template"] is not None:
            return str(self.params["template"])
        if self.params["notice"] is not None:
            return login_page.insert_notice(server.text, login_page.notice_from_text(self.params["notice"]))
        return login_page.insert_notice(server.text, login_page.notice_from_html(self.params["notice_html"]))

    def validate(self, image: Image, pages: dict[str, str]) -> None:
        for server in image.servers if pages else []:
            for rendered in self.engine.render(server, pages[server.template]):
                login_page.check_rendered(rendered, with_notice=self.params["template"] is None)

    def provenance(self, image: Image) -> str:
        notices = {option: self.params[option] for option in ("notice", "notice_html", "template")}
        source = {
            "image": self.params["image"],
            "image_id": image.image_id,
            "servers": [
                {"version": server.version, "template": server.template, "upstream_sha256": sha256(server.text)}
                for server in image.servers
            ],
            **{f"{option}_sha256": sha256(text) for option, text in notices.items() if text is not None},
        }
        return json.dumps(source, indent=2) + "\n"

    def compare_pages(self, image: Image, pages: dict[str, str], mounted: dict[str, str]) -> None:
        """What visitors saw and will see: the mounted page or else the image's."""
        upstream = {server.template: server.text for server in image.servers}
        for target in [*upstream, *sorted(set(mounted) - set(upstream))]:
            file = files.read(mounted[target]) if target in mounted else None
            before = file.content.decode("utf-8", "replace") if file else upstream.get(target)
            self.tracker.note(f"login page {target}", before, pages.get(target, upstream.get(target)))

    def differs(self, path: str, wanted: File) -> bool:
        current = files.read(path)
        # The pages' text is in the diff already, by compare_pages.
        show = ("", "") if path.endswith(".html") else None
        before = current.describe() if current else None
        return self.tracker.note(path, before, wanted.describe(), show=show)

    def remove_old(self, keep: set[str]) -> None:
        """Pages of former states, but for the last: a container that is still running has them mounted."""
        for name in os.listdir(self.path):
            path = os.path.join(self.path, name)
            if re.fullmatch("[0-9a-f]{64}", name) and path not in keep and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ENGINE_OPTIONS,
            "path": {"type": "path", "required": True},
            "services": {"type": "list", "elements": "str", "default": ["lab-1", "lab-2"]},
            "notice": {"type": "str"},
            "notice_html": {"type": "str"},
            "template": {"type": "str"},
        },
        mutually_exclusive=[("notice", "notice_html", "template")],
        supports_check_mode=True,
    )
    try:
        LoginTemplate(module).run()
    except (ProbeError, login_page.LoginPageError, files.UnsafePathError, OSError) as error:
        module.fail_json(msg=f"{module.params['image']}: {error}. The login page stays as it was.")


if __name__ == "__main__":
    main()
