#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: apache_sites
short_description: Manage Apache's virtual hosts on Debian and Ubuntu, all or nothing
version_added: 0.1.0
description:
  - Installs virtual hosts, enables Apache's modules, adds C(Listen) directives and reloads or starts Apache, all as one
    transaction.
  - The new configuration is tested as a whole in a staging directory before a file is changed. Should Apache not come
    up with it, everything is put back and Apache runs with what it had.
  - Certificates are checked first (readable, in date, the key belongs to the certificate), because Apache's own
    configuration test does not, and Apache exits at a reload with a bad pair.
  - A port that another program holds is refused, for the same reason.
  - A configuration that is newer than Apache's last reload, say because an earlier run was interrupted, is loaded, and
    so are certificates and keys with another content than at the last reload, whatever their time is.
  - Apache is restarted only where it must give up an address that a new C(Listen) overlaps.
author:
  - the carrel.jupyter authors (@carrel)
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
    details: The staged configuration is tested in check mode too. A host without Apache is reported as changed.
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
        that O(listen) does not name. What others made is never touched.
    type: bool
    default: false
  modules:
    description: Apache's modules to enable, together with those they depend on.
    type: list
    elements: str
    default: []
  listen:
    description:
      - What to listen on, as V(PORT) or V(ADDRESS:PORT). A directive that exists already is not repeated.
      - An V(ADDRESS:PORT) takes the place of C(Listen PORT) in C(/etc/apache2/ports.conf).
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
        description: Whether to generate the pair, and again when it is for another name or ends within 30 days.
        type: bool
        default: false
seealso:
  - module: carrel.jupyter.site_health
"""

EXAMPLES = r"""
- name: One site on port 8080
  carrel.jupyter.apache_sites:
    sites:
      carrel-example.org-8080: |
        <VirtualHost *:8080>
            ServerName example.org
            ProxyPass "/" "http://127.0.0.1:8801/" upgrade=websocket
        </VirtualHost>
    modules: [proxy, proxy_http]
    listen: ["8080"]
    prune: true
"""

RETURN = r"""
paths:
  description: The files that were written or removed, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [/etc/apache2/sites-available/carrel-example.org-443.conf]
action:
  description: What was done to the service, or would be in check mode.
  returned: success
  type: str
  sample: reload
reason:
  description: The reason for RV(action).
  returned: success
  type: str
  sample: the configuration changed
site:
  description: The site whose configuration Apache refuses, where its message names one.
  returned: failure
  type: str
"""

import os
import re
import shutil
import ssl
import tempfile
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._apache import certificates as tls
from ansible_collections.carrel.jupyter.plugins.module_utils._apache import sites as decide
from ansible_collections.carrel.jupyter.plugins.module_utils._apache.sites import (
    CONFDIR,
    ApacheError,
    Change,
    Link,
    Listen,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._host.apache import (
    CERTIFICATES,
    Service,
    digests,
    run,
    write,
)

INFO_MODULE = "LoadModule info_module /usr/lib/apache2/modules/mod_info.so"


def current(path: str) -> decide.Node:
    return Link(os.readlink(path)) if os.path.islink(path) else files.read(path)


def look_at(pair: tls.Pair) -> tls.Seen:
    for what, path in (("certificate", pair.certificate), ("private key", pair.private_key)):
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            problem = f"the {what} {path} cannot be read: {error.strerror}. Put it on the host or correct the path."
            return tls.Seen(problem=problem, missing=isinstance(error, FileNotFoundError))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(pair.certificate, pair.private_key, lambda: "")
    except (ssl.SSLError, ValueError) as error:
        mismatch = "MISMATCH" in str(error)
        why = "the key does not belong to the certificate" if mismatch else f"not PEM, or with a passphrase ({error})"
        return tls.Seen(problem=f"{pair.certificate} and {pair.private_key} cannot be used: {why}.")
    result = run(["openssl", "x509", "-in", pair.certificate, *tls.check_arguments(pair.server_name)])
    return tls.read_check(result.stdout + result.stderr)


def generate(directory: str, pair: tls.Pair) -> tls.Pair:
    """Make a pair in the directory."""
    made = tempfile.mkdtemp(dir=directory)
    config, certificate, key = (os.path.join(made, name) for name in ("config", "crt", "key"))
    write(config, decide.file(tls.request_config(pair.server_name)))
    command = ["openssl", "req", "-x509", "-config", config, "-days", str(tls.VALID_DAYS), "-sha256", "-nodes"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", key, "-out", certificate]
    result = run(command)
    if result.returncode:
        raise ApacheError(f"{pair.server_name}: openssl could not make a certificate: {result.stderr.strip()}")
    return tls.Pair(pair.server_name, certificate, key, pair.self_signed)


class Sites:
    def __init__(self, module: AnsibleModule, stage: str) -> None:
        self.module = module
        self.stage = stage
        self.installed = os.path.exists(f"{CONFDIR}/apache2.conf") and os.path.exists("/usr/sbin/apache2ctl")
        self.pairs = [tls.Pair(**pair) for pair in module.params["certificates"]]
        self.supplied = [path for pair in self.pairs for path in (pair.certificate, pair.private_key)]
        self.wanted = [decide.parse_listen(text) for text in module.params["listen"]]
        self.stand_ins: dict[str, str] = {}
        self.listens: list[Listen] = []
        self.desired: decide.Tree = {}

    def check_certificates(self) -> None:
        now = datetime.now(timezone.utc)
        problems = []
        for pair in self.pairs:
            seen = look_at(pair)
            if pair.self_signed:
                if tls.must_generate(seen, now):
                    self.add_generated(pair)
                continue
            problem = tls.complaint(pair, seen, now)
            if problem and seen.missing and self.module.check_mode:
                self.module.warn(f"{problem} Without it, the real run fails.")
                self.stand_in(pair)
            elif problem:
                problems.append(problem)
            for text in tls.advice(pair, seen, now):
                self.module.warn(text)
        if problems:
            raise ApacheError(" ".join(problems) + " Nothing was changed.")

    def stand_in(self, pair: tls.Pair) -> tls.Pair:
        made = generate(self.stage, pair)
        self.stand_ins.update({pair.certificate: made.certificate, pair.private_key: made.private_key})
        return made

    def add_generated(self, pair: tls.Pair) -> None:
        if shutil.which("openssl") is None and self.module.check_mode:
            self.desired.update({pair.certificate: File(b""), pair.private_key: File(b"", 0o600)})
            return
        made = self.stand_in(pair)
        with open(made.certificate, "rb") as stream:
            self.desired[pair.certificate] = File(stream.read())
        with open(made.private_key, "rb") as stream:
            self.desired[pair.private_key] = File(stream.read(), 0o600)

    def decide(self) -> None:
        """Fill the tree of everything that should be there."""
        existing = {
            name[: -len(".conf")]
            for kind in ("sites-available", "sites-enabled")
            for name in (os.listdir(f"{CONFDIR}/{kind}") if os.path.isdir(f"{CONFDIR}/{kind}") else [])
            if name.endswith(".conf")
        }
        self.desired.update(decide.site_tree(self.module.params["sites"], existing, self.module.params["prune"]))
        for name, content in self.module.params["sites"].items():
            for suite in re.findall(r"(?m)^\s*SSLCipherSuite\s+(\S+)\s*$", content):
                try:  # Apache reads it only after its configuration test
                    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(suite)
                except ssl.SSLError as error:
                    message = f"site {name}: OpenSSL knows no cipher of {suite!r}. Nothing was changed."
                    raise ApacheError(message, name) from error
        if not self.installed:
            self.desired.update(decide.listen_tree(self.wanted))
            return
        available = f"{CONFDIR}/mods-available"
        load_files = {}
        for name in os.listdir(available):
            with open(f"{available}/{name}", encoding="utf-8", errors="replace") as stream:
                load_files[name] = stream.read()
        self.desired.update(decide.module_links(self.module.params["modules"], load_files))
        ports = current(f"{CONFDIR}/ports.conf")
        if isinstance(ports, File):
            content = decide.restricted_ports_conf(decide.text(ports), self.wanted)
            self.desired[f"{CONFDIR}/ports.conf"] = replace(ports, content=decide.file(content).content)
        own = current(f"{CONFDIR}/conf-available/{decide.LISTEN_CONF}.conf")
        if isinstance(own, File) and not self.module.params["prune"]:
            self.wanted += decide.listens_of_dump(decide.text(own))
        self.desired.update(decide.listen_tree([]))
        others = decide.listens_of_dump(self.test())
        missing = decide.missing_listens(self.wanted, others)
        self.desired.update(decide.listen_tree(missing))
        self.listens = [*others, *missing]
        if not self.listens:
            raise ApacheError("Apache would listen on no port, and exit: give a port in listen. Nothing was changed.")

    def test(self) -> str:
        """Test the staged configuration; return Apache's dump of it."""
        root = os.path.join(self.stage, "apache2")
        os.mkdir(root)
        for name in os.listdir(CONFDIR):
            if name in ("sites-enabled", "mods-enabled", "conf-enabled"):
                os.mkdir(f"{root}/{name}")
                for entry in os.listdir(f"{CONFDIR}/{name}"):
                    link = os.path.realpath(f"{CONFDIR}/{name}/{entry}")
                    os.symlink(link, f"{root}/{name}/{entry}")
            elif name != "apache2.conf":
                os.symlink(f"{CONFDIR}/{name}", f"{root}/{name}")
        with open(f"{CONFDIR}/apache2.conf", encoding="utf-8", errors="surrogateescape") as stream:
            main = re.sub(r'(?mi)^(\s*ServerRoot\s+)"?/etc/apache2/?"?\s*$', rf'\1"{root}"', stream.read())
        write(f"{root}/apache2.conf", decide.file(main))
        for path, node in self.desired.items():
            if not path.startswith(CONFDIR):
                continue
            staged = root + path[len(CONFDIR) :]
            if "/sites-available/" in path or "/conf-available/" in path:
                if isinstance(node, File):
                    content = decide.text(node)
                    for real, made in self.stand_ins.items():
                        content = content.replace(real, made)
                    write(staged.replace("-available/", "-enabled/"), decide.file(content))
            elif isinstance(node, Link) and "/mods-enabled/" in path:
                write(staged, Link(os.path.normpath(f"{CONFDIR}/mods-enabled/{node.target}")))
            elif isinstance(node, File):
                write(staged, node)
            elif node is None and os.path.lexists(staged):
                os.unlink(staged)
        command = ["/usr/sbin/apache2ctl", "-C", INFO_MODULE, "-t", "-D", "DUMP_CONFIG"]
        result = run(command, env={"APACHE_CONFDIR": root, "LC_ALL": "C"})
        if result.returncode:
            output = decide.relevant(result.stderr, root)
            live = run(["/usr/sbin/apache2ctl", "-t"])
            complaint = decide.relevant(live.stderr) if live.returncode else None
            raise ApacheError(decide.refusal(output, complaint), decide.site_of(output))
        return result.stdout

    def newest(self) -> tuple[float, str]:
        """The newest of what Apache reads; st_ctime, because copies that keep times have the old st_mtime."""
        paths = [*self.desired, *(f"{CONFDIR}/{kind}-enabled" for kind in ("sites", "mods", "conf"))]
        times = [(os.lstat(path).st_ctime, path) for path in paths if os.path.lexists(path)]
        times += [(os.stat(path).st_ctime, path) for path in self.supplied if os.path.exists(path)]
        return max(times)

    def action(self, service: Service, found: list[Change]) -> tuple[str, str]:
        if not service.active:
            return "start", "Apache is not running"
        if found:
            return "reload", "the configuration changed"
        time_, path = self.newest()
        if time_ > service.loaded_at:
            return "reload", f"{path} is newer than Apache's last reload"
        if changed := tls.other(digests(self.supplied), tls.parse_digests(current(CERTIFICATES))):
            return "reload", f"{changed} is not what Apache loaded last"
        return "none", "nothing to do" if service.enabled else "only the start at boot is enabled"

    def run(self) -> dict[str, Any]:
        self.check_certificates()
        self.decide()
        found = decide.changes(self.desired, {path: current(path) for path in self.desired})
        shown = decide.diff(found, {pair.private_key for pair in self.pairs})
        result: dict[str, Any] = {"paths": [change.path for change in found], "diff": shown}
        if not self.installed:
            if not self.module.check_mode:
                raise ApacheError("Apache is not installed: install the package apache2 first.")
            return {**result, "changed": True, "action": "start", "reason": "Apache is not installed yet"}
        service = Service.read()
        action, reason = self.action(service, found)
        if action != "none" and service.must_restart(self.listens) and action == "reload":
            action, reason = "restart", "the addresses to listen to changed"
        if not self.module.check_mode:
            self.apply(service, action, found)
        return {**result, "changed": action != "none" or not service.enabled, "action": action, "reason": reason}

    def apply(self, service: Service, action: str, found: list[Change]) -> None:
        done = []
        try:
            for change in found:
                done.append(change)
                write(change.path, change.after)
            if action != "none":
                known = tls.parse_digests(current(CERTIFICATES))
                loaded = digests([*known, *self.supplied])
                service.load(action)
                write(CERTIFICATES, tls.digests_file(loaded))
            if not service.enabled:
                service.enable()
        except (OSError, files.UnsafePathError, ApacheError) as error:
            for change in reversed(done):
                write(change.path, change.before)
            service.recover()
            raise ApacheError(f"{error} Everything was put back as it was.") from error


def main() -> None:
    pair = {
        "server_name": {"type": "str", "required": True},
        "certificate": {"type": "path", "required": True},
        "private_key": {"type": "path", "required": True},
        "self_signed": {"type": "bool", "default": False},
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
        with tempfile.TemporaryDirectory(prefix="carrel-apache-") as stage:
            result = Sites(module, os.path.realpath(stage)).run()
    except ApacheError as error:
        module.fail_json(msg=str(error), site=error.site)
    except files.UnsafePathError as error:
        module.fail_json(msg=f"{error}. Nothing was changed.")
    except OSError as error:
        module.fail_json(msg=f"{error.filename or 'Apache configuration'}: {error.strerror}. Nothing was changed.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
