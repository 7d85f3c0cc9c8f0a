# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check how the keys of a lab or a hub depend on each other and on files of the control node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.keys import Instance, Lab
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.parts import Tls
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID, given
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.server_settings import forbidden
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.url import Url, is_ipv4
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.values import TLS_MODES

YEAR = 31536000
_HTTPS_MODES = ", ".join(TLS_MODES[:-1])


class ControlNode(Protocol):
    """The files of the machine that Ansible runs on."""

    def absolute(self, path: str) -> str:
        """Return the absolute path. Relative paths begin at the inventory's folder."""

    def is_dir(self, path: str) -> bool: ...

    def is_file(self, path: str) -> bool: ...

    def read_text(self, path: str) -> str:
        """Return the text of a file. Raises OSError or UnicodeError."""

    def kernels(self) -> Mapping[str, Any]:
        """Return the declarations of the collection's kernels by their names."""

    def timezones(self) -> Mapping[str, str]:
        """Return the current name of each IANA time zone by all its names. Empty if the machine has no data."""


def check_instance(instance: Instance, host_tls: object, control: ControlNode, problems: Problems) -> None:
    """Check an instance, and fill in what follows from other keys: tls, hsts_seconds, the text of login.template."""
    if instance.url is None:
        problems.add(
            f"{instance.path}.url", "missing", wanted="the public address, for example https://lab.example.org/"
        )
    if isinstance(instance.url, Url):
        # Unlike other parts of a url, the scheme is always known.
        _check_tls(instance, instance.url, host_tls, problems)
    _check_login(instance, control, problems)
    if given(instance.server_settings):
        for place, instead in forbidden(instance.server_settings, isinstance(instance, Lab)):
            problems.add(f"{instance.path}.server_settings.{place}", "server_setting", instead=instead)


def _check_tls(instance: Instance, url: Url, host_tls: object, problems: Problems) -> None:
    path = f"{instance.path}.tls"
    tls = instance.tls
    if tls is None and url.scheme == "http":
        tls = Tls("none")
    elif tls is None:
        tls = host_tls
    if tls is None:
        problems.add(path, "tls_missing", modes=", ".join(TLS_MODES))
    elif isinstance(tls, Tls):
        if url.scheme == "https" and tls.mode == "none":
            problems.add(path, "tls_none", modes=_HTTPS_MODES)
        elif url.scheme == "http" and tls.mode != "none":
            problems.add(path, "tls_on_http", mode=tls.mode)
        if tls.mode == "acme" and given(url.host) and (is_ipv4(url.host) or "." not in url.host):
            problems.add(path, "tls_acme_host", host=url.host)
        if instance.hsts_seconds is None:
            # After this header, a browser refuses certificates that it cannot verify, such as self-signed ones.
            instance.hsts_seconds = YEAR if tls.mode in ("files", "acme") else 0
    if url.scheme == "http" and given(instance.hsts_seconds) and instance.hsts_seconds > 0:
        problems.add(f"{instance.path}.hsts_seconds", "hsts_on_http")
    instance.tls = INVALID if tls is None else tls


def check_targets(instance: Instance, mounts: Iterable[tuple[str, str]], problems: Problems) -> None:
    """Check that mounts do not collide. MOUNTS has pairs of a key and a folder in the container."""
    places: dict[str, str] = {}
    for key, target in mounts:
        if not given(target):
            continue
        if target in places:
            problems.add(f"{instance.path}.{key}", "target_twice", value=show(target), other=places[target])
        else:
            places[target] = key


def read_file(path: str, value: str, message_id: str, control: ControlNode, problems: Problems) -> str | None:
    """Return the text of a file of the control node. None, with a problem at PATH, if it cannot be read."""
    file = control.absolute(value)
    try:
        return control.read_text(file)
    except OSError as error:
        problems.add(path, message_id, value=show(file), error=error.strerror or "not readable")
    except UnicodeError:
        problems.add(path, message_id, value=show(file), error="not UTF-8")
    return None


def _check_login(instance: Instance, control: ControlNode, problems: Problems) -> None:
    if given(instance.login) and given(instance.login["template"]):
        path = f"{instance.path}.login.template"
        page = read_file(path, instance.login["template"], "login_template", control, problems)
        if page is not None:
            instance.login = {**instance.login, "template": page}
