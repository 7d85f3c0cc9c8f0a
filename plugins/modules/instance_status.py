#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_status
short_description: Read the status of the instances of a host
version_added: 0.1.0
description:
  - For each instance, returns whether its public URL answers, which containers and images run, the result of the last
    reset, the number of users, the disk usage, and all problems.
  - If something cannot be read, this is a problem in the result; the module does not fail.
  - Changes nothing. It must run as root, to read the instances' files and ask their engines.
author:
  - the carrel.jupyter authors (@carrel)
options:
  names:
    description:
      - The instances to check.
      - By default all that are recorded in C(/var/lib/carrel).
    type: list
    elements: str
  connect_to:
    description:
      - The address to connect to for the public URLs. The port is the URL's.
      - Empty for the address that the URL's name has in DNS.
    type: str
    default: 127.0.0.1
  timeout_seconds:
    description: Seconds that a URL or an engine may take to answer.
    type: int
    default: 10
  disk:
    description: Whether to measure the size of the instances' directories and of the engines' images.
    type: bool
    default: true
  disk_timeout_seconds:
    description: Seconds that this may take for one instance. A size that takes longer is null, with a note.
    type: int
    default: 30
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
    details:
      - Nothing is ever changed.
  idempotent:
    support: full
seealso:
  - module: carrel.jupyter.instance_drift
  - module: carrel.jupyter.instance_info
  - module: carrel.jupyter.site_health
"""

EXAMPLES = r"""
- name: Read the status of all instances
  carrel.jupyter.instance_status:
  register: status

- name: Show the problems
  ansible.builtin.debug:
    msg: "{{ item.name }}: {{ item.problems | map(attribute='text') | join('; ') }}"
  loop: "{{ status.instances | selectattr('problems') }}"
  loop_control:
    label: "{{ item.name }}"
"""

RETURN = r"""
instances:
  description: Sorted by name; unknown values are null.
  returned: success
  type: list
  elements: dict
  contains:
    name: {type: str, description: The instance., returned: always}
    kind: {type: str, description: V(lab) or V(hub)., returned: always}
    state: {type: str, description: As declared., returned: always}
    url: {type: str, description: The public URL., returned: always}
    directory: {type: str, description: The instance's directory., returned: always}
    own:
      description: The administrator's own additions, such as C(server_settings), as text.
      type: list
      elements: str
      returned: always
      sample: [server_settings ServerApp]
    health:
      description: V(ok), V(warning) or V(error), as the worst problem; without problems, a state other than V(present).
      type: str
      returned: always
    problems:
      description: The problems, worst first, each with C(level) (V(error) or V(warning)) and C(text).
      type: list
      elements: dict
      returned: always
      sample: [{level: warning, text: "the certificate ends in 9 days, on 2030-01-10"}]
    site:
      description:
        - C(answers), C(status), C(milliseconds), C(error), and with TLS C(certificate) with C(ends) and C(days_left).
        - Null unless the instance is present.
      type: dict
      returned: always
      sample: {answers: false, status: 502, milliseconds: 31, error: "status 502. Apache answers, …", certificate: null}
    engine: {type: dict, description: "C(name), C(running), C(error), C(replaced).", returned: always}
    ports:
      description: C(taken), other accounts that listen on one, and C(open), the ports that any account could take.
      type: dict
      returned: always
      sample: {taken: [], open: []}
    containers:
      description:
        - The instance's own containers, without users' servers.
        - C(as_tagged) says whether its tag means the same image in the engine now; null if the tag is gone.
      type: list
      elements: dict
      returned: always
      sample:
        - name: tao-lab-1-1
          service: lab-1
          state: running
          health: healthy
          since: "2030-01-01T01:25:31.120283739Z"
          image: registry.example.org/lab:1.0
          image_id: sha256:164a96f1e58d
          digest: sha256:d044015f3797
          as_tagged: true
    images:
      description: For hubs, the images of users' servers; C(image_id) is null if the engine does not have it.
      type: list
      elements: dict
      returned: always
      sample: [{image: "registry.example.org/lab:1.0", image_id: "sha256:164a96f1e58d", digest: "sha256:d044015f3797"}]
    reset:
      description:
        - The last reset, with C(result) (V(running), V(done), V(failed), V(put off), V(held) or V(interrupted)),
          C(step), C(message), C(started), C(ended), C(warnings), and C(put_off), how many times in a row.
        - C(commands), the results of the administrator's own commands before and after it.
        - C(smoke), the result of the smoke notebooks; null if none ran.
      type: dict
      returned: always
      sample:
        result: done
        step: prune
        message: done
        started: "2030-01-01T01:24:50+00:00"
        ended: "2030-01-01T01:25:40+00:00"
        warnings: []
        commands: ["before: done"]
        smoke: files/notebooks/check.ipynb passed in 4 s
        put_off: 0
    schedule:
      description: C(at), C(timezone), C(next), the next time, C(since), when cron got the job; null without a job.
      type: dict
      returned: always
      sample: {at: "01:25", timezone: null, next: "2030-01-02T01:25:00+01:00", since: "2029-12-01T10:00:00+00:00"}
    backup:
      description: C(result) and so on of the last backup and of C(drill); C(good), when the last good one ended.
      type: dict
      returned: always
    users:
      description:
        - For hubs, C(known), users in the roster, and C(servers), running servers.
        - C(sizes), users' disk usage, as carrel-disk measured it on the host; the largest first, at most 1000.
          C(much) says whether it is above the warning.
      type: dict
      returned: always
      sample:
        known: 20
        servers: 3
        sizes:
          - name: ada
            bytes: 10200547328
            limit: 10737418240
            much: true
            text: 9.5 GiB of 10.0 GiB
            measured: 2030-01-10 03:17 UTC
    disk:
      description:
        - The size of the instance's directory and of its engine's images in bytes; the free bytes and the used share
          of the directory's file system; C(files_percent), the used share of its inodes; C(notes) about values that are
          left out.
        - C(engine), for an engine whose data root is on another file system, has the C(directory) and the same facts.
        - C(limit), for a lab with an enforced limit, has the C(bytes) that its folders take, and may take at C(most),
          and the number of C(files).
      type: dict
      returned: always
      sample:
        directory_bytes: 1200
        images_bytes: 569346289
        free_bytes: 16777216000
        used_percent: 41
        files_percent: 7
        engine: {directory: /srv/docker/tao, free_bytes: 33554432000, used_percent: 12, files_percent: 3}
        limit: null
        notes: []
"""

from datetime import datetime, timezone

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._host.instance_status import collect
from ansible_collections.carrel.jupyter.plugins.module_utils._host.port_probe import open_to_others


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str"},
            "connect_to": {"type": "str", "default": "127.0.0.1"},
            "timeout_seconds": {"type": "int", "default": 10},
            "disk": {"type": "bool", "default": True},
            "disk_timeout_seconds": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, instances=collect("/", module.params, datetime.now(timezone.utc), open_to_others))


if __name__ == "__main__":
    main()
