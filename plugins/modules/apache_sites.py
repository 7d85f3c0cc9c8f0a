#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: apache_sites
short_description: Manage Apache's virtual hosts on Debian and Ubuntu, tested before they are put in place
version_added: 0.1.0
description:
  - Installs virtual hosts, enables Apache's modules, adds C(Listen) directives and reloads or starts Apache.
  - The new configuration is tested as a whole in a staging directory before a file is changed. If Apache does not
    start with it, the old files are put back and Apache runs as before.
  - A virtual host that Apache refuses, or whose certificate or port is not available, keeps its earlier
    configuration. If that cannot be loaded either, it is switched off. All others are put in place; then the module
    fails and names those that are not.
  - A site without a virtual host applies to the whole host. If it is refused, nothing is changed.
  - Certificates are checked first (readable, in date, the key belongs to the certificate), because Apache's own
    configuration test does not, and Apache exits at a reload with a bad pair.
  - Ports that another program uses are found, for the same reason.
  - A configuration that is newer than Apache's last reload, for example because an earlier run was interrupted, is
    loaded. So are certificates and keys whose content changed since the last reload, whatever their time is.
  - Apache is restarted only if it must give up an address that a new C(Listen) overlaps.
author:
  - the carrel.jupyter authors (@carrel)
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
    details: The staged configuration is tested in check mode, too. A host without Apache is reported as changed.
  diff_mode:
    support: full
    details: Private keys are not shown.
  idempotent:
    support: full
options:
  sites:
    description: Content of each file in C(sites-available), by its name without C(.conf), which begins with C(carrel-).
    type: dict
    default: {}
  prune:
    description:
      - Whether to remove files C(carrel-*.conf) that O(sites) does not name, and C(Listen) directives of this module
        that O(listen) does not name. Files of others are never touched.
    type: bool
    default: false
  modules:
    description: Apache's modules to enable, together with those they depend on.
    type: list
    elements: str
    default: []
  listen:
    description:
      - Where to listen, as V(PORT) or V(ADDRESS:PORT). A directive that exists already is not repeated.
      - V(ADDRESS:PORT) replaces C(Listen PORT) in C(/etc/apache2/ports.conf).
    type: list
    elements: str
    default: []
  certificates:
    description: The certificates that the sites use.
    type: list
    elements: dict
    default: []
    suboptions:
      server_name:
        description: The name or address that the certificate is for.
        type: str
        required: true
      certificate:
        description: Path on the host, with the intermediate certificates.
        type: path
        required: true
      private_key:
        description: Path on the host.
        type: path
        required: true
      self_signed:
        description: Whether to generate the pair, and to renew it if it is for another name or ends within 30 days.
        type: bool
        default: false
      subdomains:
        description: Whether it must be for the names directly below, too. If it is not, the site with those is refused.
        type: bool
        default: false
seealso:
  - module: carrel.jupyter.site_health
"""

EXAMPLES = r"""
- name: Set up a site on port 8080
  carrel.jupyter.apache_sites:
    sites:
      carrel-example.org-8080: |
        <VirtualHost *:8080>
            ServerName example.org
            ProxyPass "/" "http://127.0.0.1:8801/" upgrade=websocket
        </VirtualHost>
    modules: [proxy, proxy_http]
    listen: ["8080"]

- name: Remove every other site and port of this module, those of instances, too
  carrel.jupyter.apache_sites:
    sites:
      carrel-example.org-8080: "{{ lookup('ansible.builtin.file', 'site.conf') }}"
    listen: ["8080"]
    prune: true
"""

RETURN = r"""
paths:
  description: The files that were written or removed, or would be in check mode.
  returned: success, and if only single sites were refused
  type: list
  elements: str
  sample: [/etc/apache2/sites-available/carrel-example.org-443.conf]
action:
  description: What was done to the service, or would be in check mode.
  returned: success, and if only single sites were refused
  type: str
  sample: reload
reason:
  description: The reason for RV(action).
  returned: success, and if only single sites were refused
  type: str
  sample: the configuration changed
refused:
  description: The sites that could not be put in place.
  returned: always
  type: list
  elements: dict
  contains:
    site:
      description: Its name.
      type: str
    problem:
      description: Why, what to do, and which configuration is used instead.
      type: str
"""

import os
import re
import ssl
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._apache import certificates as tls
from ansible_collections.carrel.jupyter.plugins.module_utils._apache import refusals
from ansible_collections.carrel.jupyter.plugins.module_utils._apache import sites as decide
from ansible_collections.carrel.jupyter.plugins.module_utils._apache.sites import (
    CONFDIR,
    ApacheError,
    Change,
    Link,
    Listen,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._host import apache_pairs as pairs
from ansible_collections.carrel.jupyter.plugins.module_utils._host import apache_stage as stage
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._host.apache import (
    CERTIFICATES,
    Service,
    date_now,
    digests,
    newest,
    write,
)


def current(path: str) -> decide.Node:
    return Link(os.readlink(path)) if os.path.islink(path) else files.read(path)


class Sites:
    def __init__(self, module: AnsibleModule, stage: str) -> None:
        self.module = module
        self.stage = stage
        self.sites: dict[str, str] = module.params["sites"]
        self.installed = os.path.exists(f"{CONFDIR}/apache2.conf") and os.path.exists("/usr/sbin/apache2ctl")
        self.wanted = [decide.parse_listen(text) for text in module.params["listen"]]
        self.listens: list[Listen] = []
        paths = [path for name in self.sites for path in decide.fragment("sites", name, None)]
        self.refusals = refusals.Refusals(self.sites, {path: current(path) for path in paths})
        self.pairs = pairs.Pairs(stage, self.refusals, module.check_mode, module.warn)

    def check_ciphers(self) -> None:
        """Apache reads them only after its configuration test."""
        for name, content in self.sites.items():
            for suite in re.findall(r"(?m)^\s*SSLCipherSuite\s+(\S+)\s*$", content):
                try:
                    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(suite)
                except ssl.SSLError:
                    self.refusals.refuse(name, f"OpenSSL knows no cipher of {suite!r}.")

    def tree(self) -> decide.Tree:
        """All wanted files, except those with Listen directives."""
        existing = {
            name[: -len(".conf")]
            for kind in ("sites-available", "sites-enabled")
            for name in (os.listdir(f"{CONFDIR}/{kind}") if os.path.isdir(f"{CONFDIR}/{kind}") else [])
            if name.endswith(".conf")
        }
        tree = {**self.pairs.generated, **decide.site_tree(self.sites, existing, self.module.params["prune"])}
        tree.update(self.refusals.tree())
        if not self.installed:
            return tree
        available = f"{CONFDIR}/mods-available"
        load_files = {}
        for name in os.listdir(available):
            with open(f"{available}/{name}", encoding="utf-8", errors="replace") as stream:
                load_files[name] = stream.read()
        tree.update(decide.module_links(self.module.params["modules"], load_files))
        ports = current(f"{CONFDIR}/ports.conf")
        if isinstance(ports, File):
            content = decide.restricted_ports_conf(decide.text(ports), self.wanted)
            tree[f"{CONFDIR}/ports.conf"] = replace(ports, content=decide.file(content).content)
        return tree

    def settle(self, service: Service) -> decide.Tree:
        """All wanted files. Each round refuses one more site, so there are few rounds."""
        while True:
            known = self.refusals.tree()
            desired = {**self.tree(), **decide.listen_tree([])}
            dump, complaint = self.test(desired)
            if complaint:
                self.refuse_one(desired, complaint)
            else:
                missing = self.missing_listens(service, decide.listens_of_dump(dump))
            if self.refusals.tree() != known:
                continue
            if complaint:
                raise ApacheError(f"Apache refuses the new configuration: {complaint} Nothing was changed.")
            return {**desired, **decide.listen_tree(missing)}

    def test(self, desired: decide.Tree) -> tuple[str, str | None]:
        return stage.test(self.stage, desired, self.pairs.stand_ins)

    def refuse_one(self, desired: decide.Tree, complaint: str) -> None:
        """Refuse a site for which Apache complains about the whole."""
        name = decide.site_of(complaint)
        if name is None and (live := stage.live_complaint()) and decide.site_of(live) is None:
            raise ApacheError(decide.broken_before(live))
        if name is not None and self.refusals.refuse(name, f"Apache refuses it: {complaint}"):
            return
        # Its message names no file, as with a file that a site includes: each that is new, with those that pass.
        changed = [name for name in self.sites if name not in self.refusals.problems]
        trial: decide.Tree = {**desired, **self.refusals.live, **self.refusals.tree()}
        if self.test(trial)[1]:
            return
        for new in changed:
            wanted = decide.fragment("sites", new, self.sites[new])
            if said := self.test({**trial, **wanted})[1]:
                self.refusals.refuse(new, f"Apache refuses it: {said}")
            else:
                trial.update(wanted)

    def missing_listens(self, service: Service, others: list[Listen]) -> list[Listen]:
        own = current(f"{CONFDIR}/conf-available/{decide.LISTEN_CONF}.conf")
        before = decide.listens_of_dump(decide.text(own)) if isinstance(own, File) else []
        prune, stay, unserved = self.module.params["prune"], self.refusals.ports(), self.refusals.unserved_ports()
        kept = [listen for listen in before if not prune or listen.port in stay]
        served = [listen for listen in self.wanted if listen.port not in unserved]
        missing = []
        for listen in sorted({*served, *kept}, key=lambda listen: (listen.port, listen.address)):
            try:
                missing += decide.missing_listens([listen], others)
            except ApacheError as error:
                self.refuse_port(listen, str(error))
        for listen, holder in service.taken([*others, *missing]).items():
            problem = f"Apache cannot listen on {listen}: {holder} holds the port. Stop it or choose another port."
            if listen in others:
                raise ApacheError(f"{problem} Nothing was changed.")
            self.refuse_port(listen, problem)
            missing.remove(listen)
        self.listens = [*others, *missing]
        if not self.listens:
            raise ApacheError("Apache would listen on no port, and exit: give a port in listen. Nothing was changed.")
        return missing

    def refuse_port(self, listen: Listen, problem: str) -> None:
        if listen in self.wanted:  # otherwise it is an old one
            self.refusals.refuse_port(listen.port, problem)

    def action(self, service: Service, desired: decide.Tree, found: list[Change]) -> tuple[str, str]:
        if not service.active:
            return "start", "Apache is not running"
        if found:
            return "reload", "the configuration changed"
        time_, path = newest(decide.configuration(desired), self.pairs.supplied, time.time())
        if time_ > service.loaded_at:
            return "reload", f"{path} is newer than Apache's last reload"
        if changed := tls.other(digests(self.pairs.supplied), tls.parse_digests(current(CERTIFICATES))):
            return "reload", f"{changed} is not what Apache loaded last"
        return "none", "nothing to do" if service.enabled else "only the start at boot is enabled"

    def run(self) -> dict[str, Any]:
        self.pairs.check([tls.Pair(**pair) for pair in self.module.params["certificates"]])
        self.check_ciphers()
        if not self.installed:
            if not self.module.check_mode:
                raise ApacheError("Apache is not installed: install the package apache2 first.")
            desired = {**self.tree(), **decide.listen_tree(self.wanted)}
            found = decide.changes(desired, {path: current(path) for path in desired})
            return {**self.told(found, "start", "Apache is not installed yet"), "changed": True}
        while True:
            service = Service.read()
            desired = self.settle(service)
            found = decide.changes(desired, {path: current(path) for path in desired})
            off = self.refusals.switched_off()
            needed = [change for change in found if change.path not in off]
            action, reason = self.action(service, desired, needed)
            if action == "reload" and service.must_restart(self.listens):
                action, reason = "restart", "the addresses to listen to changed"
            if action == "none":  # Apache still serves a loaded site that could not be loaded again
                found = []
            try:
                if not self.module.check_mode:
                    self.apply(service, action, found, decide.configuration(desired))
            except ApacheError as error:
                if not [name for name in self.refusals.named_in(str(error)) if self.refusals.refuse(name, str(error))]:
                    raise ApacheError(f"{error} Everything was put back as it was.") from error
                continue
            return {**self.told(found, action, reason), "changed": action != "none" or not service.enabled}

    def told(self, found: list[Change], action: str, reason: str) -> dict[str, Any]:
        keys = {pair["private_key"] for pair in self.module.params["certificates"]}
        shown = {"paths": [change.path for change in found], "diff": decide.diff(found, keys)}
        refused = self.refusals.told(applied=action != "none")
        return {**shown, "action": action, "reason": reason, "refused": refused}

    def apply(self, service: Service, action: str, found: list[Change], paths: Sequence[str]) -> None:
        done = []
        try:
            for change in found:
                done.append(change)
                write(change.path, change.after)
            if action != "none":
                known = tls.parse_digests(current(CERTIFICATES))
                loaded = digests([*known, *self.pairs.supplied])
                date_now(paths, time.time())
                service.load(action)
                write(CERTIFICATES, tls.digests_file(loaded))
            if not service.enabled:
                service.enable()
        except (OSError, files.UnsafePathError, ApacheError) as error:
            for change in reversed(done):
                write(change.path, change.before)
            try:
                service.recover()
            except ApacheError as worse:
                raise ApacheError(f"{error} Apache could not be started as before: {worse}") from error
            raise ApacheError(str(error)) from error


def main() -> None:
    pair = {
        "server_name": {"type": "str", "required": True},
        "certificate": {"type": "path", "required": True},
        "private_key": {"type": "path", "required": True},
        "self_signed": {"type": "bool", "default": False},
        "subdomains": {"type": "bool", "default": False},
    }
    module = AnsibleModule(
        argument_spec={
            "sites": {"type": "dict", "default": {}},
            "prune": {"type": "bool", "default": False},
            "modules": {"type": "list", "elements": "str", "default": []},
            "listen": {"type": "list", "elements": "str", "default": []},
            "certificates": {"type": "list", "elements": "dict", "default": [], "options": pair, "no_log": False},
        },
        supports_check_mode=True,
    )
    os.umask(0o077)
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    try:
        with tempfile.TemporaryDirectory(prefix="carrel-") as directory:
            result = Sites(module, os.path.realpath(directory)).run()
    except ApacheError as error:
        module.fail_json(msg=str(error), refused=[])
    except files.UnsafePathError as error:
        module.fail_json(msg=f"{error}. Nothing was changed.", refused=[])
    except OSError as error:
        what = error.filename or "Apache configuration"
        module.fail_json(msg=f"{what}: {error.strerror}. Nothing was changed.", refused=[])
    if result["refused"]:
        module.fail_json(msg=refusals.message(result["refused"]), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
