# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses in a hub whose users and services have a domain each."""

from __future__ import annotations

from urllib.parse import urlsplit


def service_url(url: str, name: str, user_domains: bool) -> str:
    """Where browsers find a service of the hub at URL; as jupyterhub.utils.subdomain_hook_idna has it for plain names.

    >>> service_url("https://hub.example.org:8443/", "backups", True)
    'https://backups--service.hub.example.org:8443/services/backups/'
    >>> service_url("https://example.org/hub1/", "backups", False)
    '/hub1/services/backups/'
    """
    parts = urlsplit(url)
    domain = f"{parts.scheme}://{name}--service.{parts.netloc}" if user_domains else ""
    return f"{domain}{parts.path}services/{name}/"
