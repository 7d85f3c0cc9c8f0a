# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases of test_plan_problems.py about what administrators add to an instance of either kind."""

from __future__ import annotations

from typing import Any

from plan_helpers import CLASS, TAO, at_hub, here


def _lab(section: str, **traits: Any) -> dict[str, Any]:
    return here(server_settings={section: traits})


def _hub(section: str, **traits: Any) -> dict[str, Any]:
    return at_hub(server_settings={section: traits})


_OF_LAB, _OF_HUB = f"{TAO}.server_settings", f"{CLASS}.server_settings"

_PROXY = f"{TAO}.proxy.directives"


def _directives(text: Any) -> dict[str, Any]:
    return here(proxy={"directives": text})


OWN_CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("wrong_type", _OF_LAB, "is a list; write a mapping of classes", here(server_settings=["ServerApp"])),
    (
        "wrong_type",
        f"{_OF_LAB}.ServerApp",
        "is a whole number; write a mapping",
        here(server_settings={"ServerApp": 5}),
    ),
    ("wrong_type", f"{_OF_LAB}.A.b", "write what JSON has", _lab("A", b={1: 2})),
    ("class_of_traits", _OF_LAB, "'serverapp' is not the name of a class", here(server_settings={"serverapp": {}})),
    ("class_of_traits", _OF_LAB, "a whole number is not the name", here(server_settings={5: {}})),
    ("trait_name", f"{_OF_LAB}.ServerApp", "'a-b' is not the name of a trait", _lab("ServerApp", **{"a-b": 1})),
    (
        "server_setting",
        f"{_OF_LAB}.ServerApp.port",
        "Apache and the health check rely on it",
        _lab("ServerApp", port=1),
    ),
    ("server_setting", f"{_OF_LAB}.NotebookApp.ip", "rely on it", _lab("NotebookApp", ip="0.0.0.0")),
    ("server_setting", f"{_OF_LAB}.ServerApp.root_dir", "write notebooks", _lab("ServerApp", root_dir="/x")),
    ("server_setting", f"{_OF_HUB}.AnyManager.root_dir", "write home", _hub("AnyManager", root_dir="/x")),
    ("server_setting", f"{_OF_LAB}.ServerApp.base_url", "write the path in url", _lab("ServerApp", base_url="/x")),
    ("server_setting", f"{_OF_HUB}.ServerApp.default_url", "write default_url", _hub("ServerApp", default_url="/tree")),
    (
        "server_setting",
        f"{_OF_LAB}.YDocExtension.disable_rtc",
        "collaboration",
        _lab("YDocExtension", disable_rtc=True),
    ),
    ("server_setting", f"{_OF_HUB}.HubOAuth.cache_max_age", "the hub decides", _hub("HubOAuth", cache_max_age=3600)),
    ("server_setting", f"{_OF_LAB}.Carrel.generation", "the role notes", _lab("Carrel", generation=1)),
    (
        "server_setting",
        f"{_OF_LAB}.PasswordIdentityProvider.password_required",
        "the role sees to it that people log in",
        _lab("PasswordIdentityProvider", password_required=False),
    ),
    (
        "server_setting",
        f"{_OF_LAB}.ServerApp.tornado_settings",
        "take cookie_name out",
        _lab("ServerApp", tornado_settings={"cookie_name": "x"}),
    ),
    (
        "server_setting",
        f"{_OF_LAB}.ServerApp.tornado_settings",
        "take password and token out",
        _lab("ServerApp", tornado_settings={"headers": {}, "token": "", "password": ""}),
    ),
    (
        "server_setting",
        f"{_OF_HUB}.ServerApp.tornado_settings",
        "take identity_provider out",
        _hub("ServerApp", tornado_settings={"identity_provider": None}),
    ),
    (
        "server_setting",
        f"{_OF_HUB}.ServerApp.shutdown_no_activity_timeout",
        "write culler",
        _hub("ServerApp", shutdown_no_activity_timeout=1),
    ),
    (
        "server_setting_secret",
        f"{_OF_LAB}.GitConfig.access_token",
        "looks like a secret",
        _lab("GitConfig", access_token="SECRET"),
    ),
    ("wrong_type", _PROXY, "write lines of Apache's configuration", _directives(["Require all granted"])),
    ("directives_section", _PROXY, "'</Location>' ends what", _directives("</Location>\n<Location />")),
    ("directives_section", _PROXY, "'</Location>' ends", _directives("<IfModule a>\n</Loca\\\ntion>\n</IfModule>")),
    ("directives_end", _PROXY, "has no end", _directives("<RequireAny>\nRequire all granted\n")),
    ("directives_section", _PROXY, "</LocationMatch>", _directives('"</LocationMatch>"\n"<LocationMatch" />')),
    ("directives_end", _PROXY, "no '\\' last", _directives("Header unset X \\\n")),
    ("directives_end", _PROXY, "no '\\' last", _directives("Header unset X \\ \n")),
]
