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
  - Finds the login page of jupyter_server in the image, adds a notice below the form, and writes a compose file that
    mounts the result over the image's page, read-only.
  - An image with several jupyter_server installations gets a page for each, made from the installation's own page.
  - The image's own jinja2 renders the new page before it is installed. Unless it has a form with a password field, the
    XSRF field and C(next), the module fails and the old pages stay.
  - The pages are in a directory named after their content, and the compose file is replaced last, in one step, so a
    crash leaves the old state or the new one.
  - If it runs again after an upgrade of the image, it starts from the new image's page.
  - Without O(notice), O(notice_html) and O(template) nothing is mounted.
options:
  path:
    description: The directory of the pages. It is created if it is missing; no part of it may be a symbolic link.
    type: path
    required: true
  services:
    description: The services of the compose project that get the mounts.
    type: list
    elements: str
    default: [lab-1, lab-2]
  notice:
    description:
      - Plain text, shown unchanged below the form. A blank line begins a paragraph.
      - Neither HTML nor Jinja in it is interpreted.
    type: str
  notice_html:
    description:
      - Trusted HTML, shown below the form. Jinja in it is not interpreted.
      - Not together with O(notice).
    type: str
  template:
    description:
      - The text of a whole page, a Jinja template, that replaces the image's.
      - Not together with O(notice) and O(notice_html).
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
  - The mounts take effect if the compose project uses the file, too, as in
    C(docker compose -f compose.yaml -f login/compose.yaml up -d).
  - Ansible itself interprets braces in a task's options. Read a page with Jinja from a file, with the file lookup.
  - An image that sets C(ServerApp.extra_template_paths) to a directory with its own login page still shows that page.
seealso:
  - module: carrel.jupyter.lab_image_info
"""

EXAMPLES = r"""
- name: Announce the daily restart on the login page
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
  description: The pages on the host; empty if nothing is mounted.
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

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._host.image_probe import (
    ENGINE_OPTIONS,
    Engine,
    ProbeError,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._host.login_files import LoginFiles
from ansible_collections.carrel.jupyter.plugins.module_utils._shared import login_page


def apply(module: AnsibleModule) -> dict[str, object]:
    params = module.params
    engine = Engine.of(module)
    image = engine.examine(params["cache"], keep=not module.check_mode)
    wanted = LoginFiles(params["path"], params["services"], params, params["image"], image)
    tracker = Tracker()
    wanted.compare(tracker)
    if wanted.stale:
        for server in image.servers if wanted.pages else []:
            for rendered in engine.render(server, wanted.pages[server.template]):
                login_page.check_rendered(rendered, with_notice=params["template"] is None)
    if not module.check_mode:
        wanted.write()
    return tracker.result(
        compose_file=wanted.compose_file,
        files=[source for source, target in wanted.mounts],
        targets=[target for source, target in wanted.mounts],
        image_id=image.image_id,
        versions=[server.version for server in image.servers],
    )


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
        module.exit_json(**apply(module))
    except (ProbeError, login_page.LoginPageError, files.UnsafePathError, OSError) as error:
        module.fail_json(msg=f"{module.params['image']}: {error}. The login page stays as it was.")


if __name__ == "__main__":
    main()
