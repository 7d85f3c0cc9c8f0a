# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The key server_settings: traits of jupyter_server and JupyterLab, and traits for which there is another key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import Type
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, kind_of, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import (
    INVALID,
    Invalid,
    json_data,
    read,
    wrong_type,
)

_FIXED = "leave it out, Apache and the health check rely on it"
_TLS = "write tls, Apache has the certificate"
_LOG_INS = "leave it out, log-ins outlive the container by it"
_GUARDED = "leave it out, the role sees to it that people log in"
# The role's files rely on these traits of all server classes. jupyter_server passes traits of NotebookApp and LabApp on
# to ServerApp.
_SERVER = {
    **dict.fromkeys(
        ("allow_remote_access", "custom_display_url", "ip", "port", "port_retries", "sock", "trust_xheaders"), _FIXED
    ),
    **dict.fromkeys(("certfile", "client_ca", "keyfile", "ssl_options"), _TLS),
    **dict.fromkeys(("cookie_secret", "cookie_secret_file"), _LOG_INS),
    **dict.fromkeys(
        ("allow_password_change", "identity_provider_class", "login_handler_class", "logout_handler_class"), _GUARDED
    ),
    "allow_root": "leave it out, it follows who the image runs as",
    "config_file": "leave it out, the settings are in a file of the role's",
    "config_file_name": "leave it out, the settings are in a file of the role's",
    "open_browser": "leave it out, there is none in the container",
    "quit_button": "leave it out, people log out by it",
}
_PROVIDER = dict.fromkeys(
    ("allow_password_change", "cookie_name", "login_handler_class", "logout_handler_class", "password_required"),
    _GUARDED,
)
# Tornado's settings override what the server makes from the traits.
_TORNADO = {
    **dict.fromkeys(("cookie_name", "cookie_secret"), _LOG_INS),
    **dict.fromkeys(("authorizer", "identity_provider", "password", "token"), _GUARDED),
}
_LAB_LOGIN = {
    "hashed_password": "write password beside the instance's other keys",
    "password": "write password beside the instance's other keys",
    "password_required": _GUARDED,
    "token": "write token beside the instance's other keys",
}
_HUB_LOGIN = dict.fromkeys(_LAB_LOGIN, "leave it out, people log in at the hub")
_LAB = {
    "base_url": "write the path in url",
    "collaborative": "write collaboration",
    "shutdown_no_activity_timeout": "write idle_shutdown_seconds",
    **_LAB_LOGIN,
}
_HUB = {
    "authorizer_class": "leave it out, the hub decides who gets in",
    "base_url": "leave it out, the hub gives each server its path",
    "default_url": "write default_url beside the hub's other keys",
    "shutdown_no_activity_timeout": "write culler: {idle_seconds: ...}",
    **_HUB_LOGIN,
}


def _traits(value: Any, path: str, problems: Problems) -> dict[str, Any] | Invalid:
    if not isinstance(value, Mapping):
        return wrong_type(value, "a mapping of traits, for example {max_body_size: 1073741824}", path, problems)
    result: dict[str, Any] = {}
    for name, item in value.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w{0,60}", name, re.ASCII):
            problems.add(path, "trait_name", value=show(name) if isinstance(name, str) else kind_of(name))
            return INVALID
        here = f"{path}.{name}"
        if re.search(r"secret|passw|token", name) and isinstance(item, str):
            result[str(name)] = INVALID
            problems.add(here, "server_setting_secret")
        else:
            result[str(name)] = read(json_data, item, here, problems)
    return result


def server_settings(value: Any, path: str, problems: Problems) -> dict[str, Any] | Invalid:
    """Read traits by class. Bad ones become INVALID."""
    if not isinstance(value, Mapping):
        wanted = "a mapping of classes, for example {ServerApp: {max_body_size: 1073741824}}"
        return wrong_type(value, wanted, path, problems)
    result: dict[str, Any] = {}
    for section, traits in value.items():
        if not isinstance(section, str) or not re.fullmatch(r"[A-Z]\w{0,60}", section, re.ASCII):
            problems.add(path, "class_of_traits", value=show(section) if isinstance(section, str) else kind_of(section))
            return INVALID
        result[str(section)] = read(_traits, traits, f"{path}.{section}", problems)
    return result


def forbidden(settings: Mapping[str, Any], lab: bool) -> Iterator[tuple[str, str]]:
    """Yield traits that must not be set, as CLASS.TRAIT, and what to do instead."""
    for section, traits in settings.items():
        if not isinstance(traits, Mapping):
            continue
        for trait, value in traits.items():
            instead = _instead(section, trait, lab)
            if not instead and trait == "tornado_settings" and isinstance(value, Mapping):
                found = [key for key in _TORNADO if key in value]
                instead = f"{_TORNADO[found[0]]}: take {' and '.join(found)} out" if found else None
            if instead:
                yield f"{section}.{trait}", instead


def _instead(section: str, trait: str, lab: bool) -> str | None:
    if trait in ("root_dir", "notebook_dir"):
        return f"write {'notebooks' if lab else 'home'}, the folder that is kept"
    if lab and (section, trait) == ("YDocExtension", "disable_rtc"):
        return "write collaboration"
    if not lab and re.fullmatch(r"Hub\w*Auth\w*", section):
        return "leave it out, the hub decides who gets in"
    if section == "Carrel":
        return "leave it out, the role notes something down there"
    if section.endswith("IdentityProvider"):
        return {**_PROVIDER, **(_LAB_LOGIN if lab else _HUB_LOGIN)}.get(trait)
    if section.endswith(("App", "Application")):
        return {**_SERVER, **(_LAB if lab else _HUB)}.get(trait)
    return None


SERVER_SETTINGS_TYPE = Type(server_settings, "names of classes, each with its traits", {"ServerApp": []}, "dict")
