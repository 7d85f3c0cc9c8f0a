# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the instances of a host must have to do with each other."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from ansible_collections.carrel.jupyter.plugins.module_utils._plan_keys import Lab
from ansible_collections.carrel.jupyter.plugins.module_utils._plan_problems import Problems, show
from ansible_collections.carrel.jupyter.plugins.module_utils._schema import given
from ansible_collections.carrel.jupyter.plugins.module_utils._url import SERVER_PATHS, Url


def check_labs(labs: Sequence[Lab], problems: Problems) -> None:
    wanted = [lab for lab in labs if lab.wanted]
    _twice(labs, lambda lab: lab.name, "name", "name_twice", problems)
    _twice(wanted, lambda lab: lab.url and str(lab.url), "url", "url_twice", problems)
    _twice(wanted, lambda lab: lab.port, "port", "port_twice", problems)
    _check_engines(wanted, problems)
    _check_sites([lab for lab in wanted if isinstance(lab.url, Url)], problems)
    public = {lab.url.port for lab in wanted if isinstance(lab.url, Url)}
    for lab in wanted:
        if lab.port in public:
            problems.add(f"{lab.path}.port", "port_public", value=lab.port)


def _twice(
    labs: Sequence[Lab], value_of: Callable[[Lab], Hashable], key: str, message_id: str, problems: Problems
) -> None:
    first: dict[Hashable, Lab] = {}
    for lab in labs:
        value = value_of(lab)
        if not given(value) or not given(getattr(lab, key)):
            continue
        if value in first:
            problems.add(f"{lab.path}.{key}", message_id, value=show(value), other=first[value].path)
        first.setdefault(value, lab)


def _check_engines(labs: Sequence[Lab], problems: Problems) -> None:
    engines = {lab.name: lab.engine for lab in labs if given(lab.name) and given(lab.engine)}
    for lab in labs:
        if not given(lab.engine) or lab.engine == lab.name:
            continue
        other = engines.get(lab.engine, lab.engine)
        if other != lab.engine:
            problems.add(f"{lab.path}.engine", "engine_chain", value=show(lab.engine), engine=other)


def _check_sites(labs: Sequence[Lab], problems: Problems) -> None:
    for index, lab in enumerate(labs):
        url: Url = lab.url
        for other in labs[:index]:
            if other.url.port == url.port and other.url.scheme != url.scheme:
                problems.add(f"{lab.path}.url", "url_mixed_port", port=url.port, other=other.path)
                break
        same_site = [other for other in labs[:index] if (other.url.host, other.url.port) == (url.host, url.port)]
        for other in same_site[:1]:
            if given(lab.tls) and given(other.tls) and lab.tls != other.tls:
                problems.add(f"{lab.path}.tls", "tls_differs", other=other.path)
            elif given(lab.hsts_seconds) and given(other.hsts_seconds) and lab.hsts_seconds != other.hsts_seconds:
                problems.add(f"{lab.path}.hsts_seconds", "hsts_differs", other=other.path)
        for other in labs:
            if other.url.host != url.host:
                continue
            if url.scheme == "http" and url.port == 80 and other.url.scheme == "https":
                problems.add(f"{lab.path}.url", "url_plain_and_tls", host=url.host, other=other.path)
                break
            below = url.path[len(other.url.path) :] if url.path.startswith(other.url.path) else ""
            if url.port == other.url.port and below.split("/")[0] in SERVER_PATHS:
                problems.add(f"{lab.path}.url", "url_shadow", value=show(url.path), other=other.path)
