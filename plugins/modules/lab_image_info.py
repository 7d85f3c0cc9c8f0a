#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: lab_image_info
short_description: Inspect a JupyterLab image
version_added: 0.1.0
author: the carrel.jupyter authors (@carrel)
description:
  - Returns the ids as which containers of an image run, and its jupyter_server installations, in conda environments,
    virtual environments or the system's Python of any version.
  - Runs one container of the image, without a network, and removes it at once, unless O(cache) has the image.
  - If the engine does not have the image, RV(exists=false) is returned. An image without jupyter_server is an error.
options:
  jupyterlab:
    description: Whether to ask for JupyterLab's settings as well, which takes a second container and some seconds.
    type: bool
    default: false
  server_settings:
    description:
      - Traits of jupyter_server and JupyterLab, by class, to try with the image's server.
      - Unknown classes and traits, and values that the server does not accept, are errors. This takes a second
        container, in which the server is set up but not started.
    type: dict
    default: {}
extends_documentation_fragment:
  - carrel.jupyter.attributes
  - carrel.jupyter.engine
attributes:
  check_mode:
    support: full
    details: In check mode O(cache) is read but not written.
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - module: carrel.jupyter.login_template
"""

EXAMPLES = r"""
- name: Read the ids of the image's containers
  carrel.jupyter.lab_image_info:
    image: quay.io/jupyter/minimal-notebook:2025-03-14
    socket: /run/user/1001/docker.sock
    cache: /var/lib/carrel/tao/image.json
  register: lab_image

- name: Show the ids and the version
  ansible.builtin.debug:
    msg: "{{ lab_image.uid }}:{{ lab_image.gid }}, jupyter_server {{ lab_image.servers[0].version }}"
"""

RETURN = r"""
exists:
  description: Whether the image is in the engine. Pull or build it if it is not.
  type: bool
  returned: success
image_id:
  description: The image's id.
  type: str
  returned: when the image is in the engine
  sample: sha256:0f5a…
repo_digests:
  description: The image's digests in registries; empty if it was built here.
  type: list
  elements: str
  returned: when the image is in the engine
uid:
  description: The numeric user id as which a container starts, seen from inside.
  type: int
  returned: when the image is in the engine
  sample: 1000
gid:
  description: The numeric group id as which a container starts, seen from inside.
  type: int
  returned: when the image is in the engine
  sample: 100
python:
  description: The server's interpreter, that on the image's PATH if it has jupyter_server, otherwise the first found.
  type: str
  returned: when the image is in the engine
  sample: /opt/conda/bin/python3.12
servers:
  description: The jupyter_server installations, beginning with that of RV(python).
  type: list
  elements: dict
  returned: when the image is in the engine
  contains:
    version:
      description: The version of jupyter_server.
      type: str
    template:
      description: The path of its login page.
      type: str
    python:
      description: The interpreter of its environment.
      type: str
    jupyterhub:
      description: The version of the package jupyterhub in the same environment; null without it.
      type: str
    collaboration:
      description: Whether the same environment has jupyter-collaboration.
      type: bool
singleuser:
  description: Whether C(jupyterhub-singleuser) is on the image's PATH.
  type: bool
  returned: when the image is in the engine
jupyterlab:
  description: JupyterLab's settings; null without O(jupyterlab).
  type: dict
  returned: when the image is in the engine
  contains:
    settings:
      description: The directory in which it reads C(overrides.json).
      type: str
    overrides:
      description: The image's content of that file.
      type: dict
    plugins:
      description: The names of each plugin's settings; null if the plugin accepts any.
      type: dict
exposed:
  description: The ports that the image exposes.
  type: list
  elements: str
  returned: when the image is in the engine
  sample: [8888/tcp]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._host.files import UnsafePathError
from ansible_collections.carrel.jupyter.plugins.module_utils._host.image_probe import (
    ENGINE_OPTIONS,
    Engine,
    MissingImageError,
    ProbeError,
    as_result,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ENGINE_OPTIONS,
            "jupyterlab": {"type": "bool", "default": False},
            "server_settings": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    engine = Engine.of(module)
    try:
        image = engine.examine(
            module.params["cache"], keep=not module.check_mode, jupyterlab=module.params["jupyterlab"]
        )
        settings = module.params["server_settings"]
        wrong = engine.settings_problems(image.servers[0], settings) if settings else []
    except MissingImageError:
        module.exit_json(changed=False, exists=False)
    except (ProbeError, UnsafePathError, OSError) as error:
        module.fail_json(msg=str(error))
    if wrong:
        module.fail_json(msg="\n".join(f"{problem} (image {module.params['image']})" for problem in wrong))
    module.exit_json(changed=False, exists=True, **as_result(image))


if __name__ == "__main__":
    main()
