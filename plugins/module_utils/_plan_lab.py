# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the keys of one instance must have to do with each other, and with the files of the control node."""

from __future__ import annotations

from typing import Protocol

from ansible_collections.carrel.jupyter.plugins.module_utils._plan_keys import Lab, Tls
from ansible_collections.carrel.jupyter.plugins.module_utils._plan_problems import Problems, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan_values import TLS_MODES, has_tag_or_digest
from ansible_collections.carrel.jupyter.plugins.module_utils._schema import INVALID, given
from ansible_collections.carrel.jupyter.plugins.module_utils._url import Url, is_ipv4

YEAR = 31536000
_HTTPS_MODES = ", ".join(TLS_MODES[:-1])


class ControlNode(Protocol):
    """The files of the machine that Ansible runs on."""

    def absolute(self, path: str) -> str:
        """Relative paths begin at the inventory's folder."""

    def is_dir(self, path: str) -> bool: ...

    def is_file(self, path: str) -> bool: ...

    def read_text(self, path: str) -> str:
        """Raises OSError or UnicodeError."""


def check_lab(lab: Lab, host_tls: object, control: ControlNode, problems: Problems) -> None:
    """Fills in what follows from other keys: tls, hsts_seconds, the text of login.template, absolute paths."""
    if lab.url is None:
        problems.add(f"{lab.path}.url", "missing", wanted="the public address, for example https://lab.example.org/")
    if isinstance(lab.url, Url):
        _check_tls(lab, lab.url, host_tls, problems)
    _check_image(lab, problems)
    _check_mounts(lab, problems)
    _check_files(lab, control, problems)


def _check_tls(lab: Lab, url: Url, host_tls: object, problems: Problems) -> None:
    path = f"{lab.path}.tls"
    tls = lab.tls
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
        if tls.mode == "acme" and (is_ipv4(url.host) or "." not in url.host):
            problems.add(path, "tls_acme_host", host=url.host)
        if lab.hsts_seconds is None:
            # A browser that once saw the header refuses the next certificate that it can't verify.
            lab.hsts_seconds = YEAR if tls.mode in ("files", "acme") else 0
    if url.scheme == "http" and given(lab.hsts_seconds) and lab.hsts_seconds > 0:
        problems.add(f"{lab.path}.hsts_seconds", "hsts_on_http")
    lab.tls = INVALID if tls is None else tls


def _check_image(lab: Lab, problems: Problems) -> None:
    if lab.image is not None and lab.build is not None:
        problems.add(f"{lab.path}.build", "image_and_build")
    elif lab.image is None and lab.build is None:
        problems.add(f"{lab.path}.image", "image_or_build")
    if lab.build is not None and lab.pull == "always":
        problems.add(f"{lab.path}.pull", "build_pull")
    if given(lab.reset) and lab.reset.pull:
        if lab.build is not None:
            problems.add(f"{lab.path}.reset.pull", "build_pull")
        elif given(lab.image) and not has_tag_or_digest(lab.image):
            problems.add(f"{lab.path}.image", "image_tag_for_pull")


def _check_mounts(lab: Lab, problems: Problems) -> None:
    places: dict[str, str] = {}
    mounts = [("notebooks", lab.notebooks)] if given(lab.notebooks) else []
    if given(lab.persist):
        mounts += [(f"persist.{name}", target) for name, target in lab.persist.items()]
    if given(lab.volumes):
        mounts += [(f"volumes[{index}].target", volume.target) for index, volume in enumerate(lab.volumes)]
    for key, target in mounts:
        if target in places:
            problems.add(f"{lab.path}.{key}", "target_twice", value=show(target), other=places[target])
        else:
            places[target] = key


def _check_files(lab: Lab, control: ControlNode, problems: Problems) -> None:
    if given(lab.build):
        context = control.absolute(lab.build["context"])
        dockerfile = f"{context}/{lab.build['dockerfile']}"
        if not control.is_dir(context):
            problems.add(f"{lab.path}.build.context", "build_context", value=show(context))
        elif not control.is_file(dockerfile):
            problems.add(f"{lab.path}.build.dockerfile", "build_dockerfile", value=show(dockerfile))
        lab.build = {**lab.build, "context": context}
    if given(lab.login) and lab.login["template"] is not None:
        template = control.absolute(lab.login["template"])
        try:
            page = control.read_text(template)
        except OSError as error:
            problems.add(
                f"{lab.path}.login.template",
                "login_template",
                value=show(template),
                error=error.strerror or "not readable",
            )
        except UnicodeError:
            problems.add(f"{lab.path}.login.template", "login_template", value=show(template), error="not UTF-8")
        else:
            lab.login = {**lab.login, "template": page}
