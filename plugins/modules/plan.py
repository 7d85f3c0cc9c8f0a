# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: plan
short_description: Check the variables of a host and turn them into the inputs of the roles
version_added: 0.1.0
description:
  - Checks everything that an administrator wrote about a host's instances, fills in what was left open, and returns
    what each role needs. Touches neither the host nor the control node.
  - Fails with all problems at once, one per line of the error, each with the path of the key and what to write instead.
  - Shows no secret. The result is censored wherever Ansible prints or logs it, the registered variable is whole.
    Do not print that variable yourself, except RV(plan.summary) and RV(plan.warnings).
  - A text with C({{), C({%) or C({#) of its own, such as a password, needs C(!unsafe) before it where it is defined.
  - This is an action plugin, it runs on the control node and needs no connection to the host.
author:
  - the carrel.jupyter authors (@carrel)
options:
  instances:
    description:
      - The instances of the host, of C(kind=lab) or C(kind=hub). C(inventories/example) shows and explains every key,
        C(docs/reference/hub-inventory.md) says more about hubs.
      - Lists in variables called C(jupyter_instances_) and a word, of the groups that a host is in, add to it by name.
        Of one instance, the host's own keys win, and groups must not contradict each other.
      - Read from the variable C(jupyter_instances) when not given, like the other options from theirs. Each text in
        these is rendered on its own, so an undefined variable is reported with the path of its key.
      - Relative paths, those of C(build), C(login.template), C(users_csv) and of C(folder) in O(images), begin at the
        folder of the inventory, or at the current folder when the inventory is no file.
    type: list
    elements: dict
  defaults:
    description:
      - Keys for every instance that does not set them itself; variable C(jupyter_defaults).
      - An instance's own value replaces a default as a whole, and a null takes it away. C(image), C(images) and
        C(build) count as one. Keys that only the other kind has are ignored. C(tls) and C(hsts_seconds) apply to https
        addresses only.
    type: dict
  base_dir:
    description: The folder of the instances' folders; variable C(jupyter_base_dir), else C(/srv).
    type: path
  port_range:
    description:
      - First and last of the ports on 127.0.0.1 that new instances get; variable C(jupyter_port_range), else
        C([8800, 9799]).
      - Ports that the kernel gives to programs that ask for any (sysctl C(net.ipv4.ip_local_port_range)) are left out,
        because no account can be kept from these.
    type: list
    elements: int
  tls:
    description:
      - The C(tls) of every https address for which neither the instance nor O(defaults) sets it; variable
        C(jupyter_tls).
      - A mode, or a mapping of C(mode), C(certificate) and C(private_key).
    type: raw
  images:
    description:
      - Images that are built on the host, for the instances whose C(image) is a mapping with C(declared), its
        name; variable C(jupyter_images).
      - Each is an entry of the role image's C(image_builds). Only names and folders are checked here, the rest by
        M(carrel.jupyter.image_build).
    type: list
    elements: dict
  allow_downgrade:
    description:
      - Whether this version of the collection may overwrite what a newer one has set up, which O(current) says;
        variable C(jupyter_allow_downgrade), else V(false).
    type: bool
  backup:
    description:
      - How the host's instances are backed up; variable C(jupyter_backup). The keys of an instance's C(backup) count
        before these. C(docs/howto/backup.md) explains them.
    type: dict
  rollout:
    description:
      - The batches in which the playbook C(site) sets up the hosts, as C(canaries), C(batch), C(pause_seconds) and
        C(max_failures); variable C(jupyter_rollout). It is checked and handed on.
    type: dict
  only:
    description:
      - Names of the instances that are set up; without it all. What belongs to the host, such as engines and addresses,
        is planned for all of them anyway, so that the others stay.
      - With O(current), it is an error if the state, address or port of one that is left out is not what the host has.
    type: list
    elements: str
  current:
    description:
      - The result of M(carrel.jupyter.instance_info). Without it the input is checked, but ports that nobody gave stay
        null.
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
      description: What C(jupyter_rollout) says, with its defaults; null without it.
      type: dict
      sample: {canaries: [lab1.example.org], batch: "30%", pause_seconds: 60, max_failures: "0%"}
    rootless_docker_engines:
      description: The engines that must run.
      type: list
      elements: dict
      sample: [{name: tao, state: started}]
    idle_engines:
      description: The engines on which nothing is left once the absent instances are removed.
      type: list
      elements: dict
      sample: [{name: geo, state: stopped}]
    engine_ports:
      description: The ports that only the account of an engine may bind, also those that an instance leaves.
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
        - Which of the declared images each engine builds; until that is done, instances and jobs hold a mapping with
          C(declared), the name, where a tag belongs.
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
        - C(users) holds those of the CSV files too, with the limits that count for each.
      type: list
      elements: dict
    reset_jobs:
      description: One job for each instance; where C(at) is null, it is reset only by hand.
      type: list
      elements: dict
    backup_jobs:
      description: One job for each instance; C(backup) is null for one without backups. Contains secrets.
      type: list
      elements: dict
    summary:
      description: One line for each instance, without secrets.
      type: list
      elements: str
      sample: ["tao: present; https://example.org/tao/; image lab:1.0; engine tao; port 8801; reset 01:25; limits none"]
    warnings:
      description: What is allowed but looks wrong, without secrets.
      type: list
      elements: str
"""
