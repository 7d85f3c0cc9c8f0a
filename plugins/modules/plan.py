# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: plan
short_description: Check the variables of a host and turn them into the inputs of the roles
version_added: 0.1.0
description:
  - Checks everything that an administrator wrote about a host's instances, fills in defaults, and returns the inputs of
    each role. Changes neither the host nor the control node.
  - Fails with all problems at once, one per line of the error, each with the path of the key and what to write instead.
  - Shows no secret. Ansible prints and logs a censored result; the registered variable is complete. Do not print this
    variable yourself, except RV(plan.summary) and RV(plan.warnings).
  - A text that contains C({{), C({%) or C({#), such as a password, needs C(!unsafe) before it in its definition.
  - This is an action plugin. It runs on the control node and needs no connection to the host.
author:
  - the carrel.jupyter authors (@carrel)
options:
  instances:
    description:
      - The instances of the host, with C(kind=lab) or C(kind=hub). C(inventories/example) shows and explains every key,
        C(docs/reference/hub-inventory.md) has the rules about a hub's people.
      - Lists in variables C(jupyter_instances_WORD) of the host's groups are merged into it by name. For one
        instance, the host's own keys win, and groups must not contradict each other.
      - By default it is read from the variable C(jupyter_instances), and the other options from theirs. Each text in
        these is rendered separately, so an undefined variable is reported with the path of its key.
      - Relative paths, in C(build), C(login.template), C(users_csv) and C(folder) of O(images), begin at the
        folder of the inventory, or at the current folder if the inventory is not a file.
    type: list
    elements: dict
  defaults:
    description:
      - Keys for every instance that does not set them itself; variable C(jupyter_defaults).
      - An instance's own value replaces the whole default, and null removes it. C(image), C(images) and
        C(build) count as one key. Keys that only the other kind has are ignored. C(tls) and C(hsts_seconds) apply only
        to https addresses.
    type: dict
  base_dir:
    description: The folder of the instances' folders; variable C(jupyter_base_dir), default C(/srv).
    type: path
  port_range:
    description:
      - First and last of the ports on 127.0.0.1 that new instances get; variable C(jupyter_port_range), default
        C([8800, 9799]).
      - Ports that the kernel gives to programs that ask for any free one (sysctl C(net.ipv4.ip_local_port_range)) are
        left out, because they cannot be reserved.
    type: list
    elements: int
  tls:
    description:
      - The C(tls) of every https address if neither the instance nor O(defaults) sets it; variable
        C(jupyter_tls).
      - A mode, or a mapping with C(mode), C(certificate) and C(private_key).
    type: raw
  images:
    description:
      - Images that are built on the host, for the instances whose C(image) is a mapping with C(declared), its
        name; variable C(jupyter_images).
      - Each is an entry of the role image's C(image_builds). Its kernels are the collection's and those of the
        variable C(image_kernels). They are only checked on a host that builds the image, that is if a present instance
        has it and C(image_pull_from) names no other host.
    type: list
    elements: dict
  allow_downgrade:
    description:
      - Whether this version of the collection may overwrite files of a newer one, which O(current) reports; variable
        C(jupyter_allow_downgrade), default V(false).
    type: bool
  backup:
    description:
      - How the host's instances are backed up; variable C(jupyter_backup). The keys of an instance's C(backup)
        override these. C(docs/howto/backup.md) explains them.
    type: dict
  rollout:
    description:
      - The batches in which the playbook C(site) sets up the hosts, as C(canaries), C(batch), C(pause_seconds) and
        C(max_failures); variable C(jupyter_rollout). It is checked and passed on.
    type: dict
  only:
    description:
      - Names of the instances to set up; by default all. Engines, addresses and other parts of the host are planned for
        all instances anyway, so that the others stay.
      - With O(current), it is an error if the state, address or port of an instance that is left out differs from the
        host's.
    type: list
    elements: str
  current:
    description:
      - The result of M(carrel.jupyter.instance_info). Without it the input is checked, but ports that are not declared
        stay null.
    type: dict
requirements:
  - idna on the control node, only to suggest the punycode of a host name with letters beyond ASCII
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
  - module: carrel.jupyter.instance_info
"""

EXAMPLES = r"""
- name: Check the variables of the host
  carrel.jupyter.plan:

- name: Read what the host has
  carrel.jupyter.instance_info:
  register: host

- name: Plan
  carrel.jupyter.plan:
    current: "{{ host }}"
  register: planned

- name: Set up the engines
  ansible.builtin.include_role:
    name: carrel.jupyter.rootless_docker
  vars:
    rootless_docker_engines: "{{ planned.plan.rootless_docker_engines }}"
"""

RETURN = r"""
plan:
  description: The inputs of the roles.
  type: dict
  returned: success
  contains:
    instances:
      description: The names of all instances, in the order in which they are declared.
      type: list
      elements: str
      sample: [tao, geo]
    rollout:
      description: The content of C(jupyter_rollout), with its defaults; null without it.
      type: dict
      sample: {canaries: [lab1.example.org], batch: "30%", pause_seconds: 60, max_failures: "0%"}
    rootless_docker_engines:
      description: The engines that must run.
      type: list
      elements: dict
      sample: [{name: tao, state: started}]
    idle_engines:
      description: The engines that have no instances once the absent ones are removed.
      type: list
      elements: dict
      sample: [{name: geo, state: stopped}]
    engine_ports:
      description: The ports that only the account of an engine may bind, also old ports of instances.
      type: list
      elements: dict
      sample: [{account: tao, ports: [8801, 8802, 8811]}]
    engine_ports_after:
      description: The same once every instance is as declared.
      type: list
      elements: dict
      sample: [{account: tao, ports: [8801, 8802]}]
    image_jobs:
      description:
        - The declared images that each engine builds. Until they are built, instances and jobs have a mapping with
          C(declared), the name, instead of a tag.
      type: list
      elements: dict
      sample: [{engine: tao, images: [statistics]}]
    apache_vhosts:
      description: One entry for each server name and port, with the locations of its instances, longest path first.
      type: list
      elements: dict
    lab_instances:
      description: The instances of kind lab, with every key. Contains secrets.
      type: list
      elements: dict
    hub_instances:
      description:
        - The instances of kind hub, with every key. Contains secrets.
        - C(users) includes those of the CSV files, with each user's effective limits.
      type: list
      elements: dict
    reset_jobs:
      description: One job for each instance; if C(at) is null, it is reset only by hand.
      type: list
      elements: dict
    backup_jobs:
      description: One job for each instance; C(backup) is null if it has no backups. Contains secrets.
      type: list
      elements: dict
    summary:
      description: One line for each instance, without secrets.
      type: list
      elements: str
      sample: ["tao: present; https://example.org/tao/; image lab:1.0; engine tao; port 8801; reset 01:25; limits none"]
    warnings:
      description: Input that is allowed but looks wrong, without secrets.
      type: list
      elements: str
"""
