# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Apache in front of hubs on the outer engine, with virtual hosts as the role apache writes them."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.action.plan import ControlFiles
from ansible_collections.carrel.jupyter.plugins.module_utils._apache import certificates
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.plan import Inputs, make_plan
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems

from testbed import images
from testbed.patience import SOON, until
from testbed.run import run
from testbed.virtual_host import virtual_host

MOUNT = "/site"  # in the container


def vhost(entry: dict[str, Any], backend: int) -> dict[str, Any]:
    """What the plan makes of an instance that listens on BACKEND."""
    problems = Problems()
    plan = make_plan(Inputs(instances=[entry]), ControlFiles("/"), problems)
    assert plan, problems.items
    (found,) = plan["apache_vhosts"]
    found["locations"][0]["backend"] = f"http://127.0.0.1:{backend}"
    return dict(found)


@contextlib.contextmanager
def apache(folder: Path, name: str, port: int, vhosts: list[dict[str, Any]]) -> Iterator[None]:
    """It answers on PORT of this machine, with certificates made for each site's names."""
    (folder / "ports.conf").write_text(f"Listen 127.0.0.1:{port}\n")
    (folder / "sites.conf").write_text(
        "\n".join(virtual_host(each, __apache_selfsigned_directory=MOUNT) for each in vhosts)
    )
    for site in vhosts:
        config, base = folder / "request", folder / site["server_name"]
        config.write_text(certificates.request_config(site["server_name"], bool(site["subdomain_paths"])))
        command = ["openssl", "req", "-x509", "-config", config, "-days", "2", "-nodes", "-newkey", "ec", "-pkeyopt"]
        command += ["ec_paramgen_curve:prime256v1", "-keyout", f"{base}.key", "-out", f"{base}.crt"]
        subprocess.run(command, check=True, capture_output=True)
    image = images.build("apache", parent=images.base())
    try:
        run(
            "docker", "run", "--detach", "--name", name, "--network", "host", "--volume", f"{folder}:{MOUNT}:ro", image,
        )  # fmt: skip
        ended = ("docker", "ps", "--quiet", "--filter", f"name=^{name}$", "--filter", "status=exited")
        until(lambda: answers(port) or run(*ended), "Apache answers or ends")
        assert answers(port), run("docker", "logs", name, check=False)
        yield
    finally:
        run("docker", "rm", "--force", name, check=False)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=SOON):
        return True
    return False


@contextlib.contextmanager
def names_below(*domains: str) -> Iterator[None]:
    """Within this process, these names and all below them are this machine's."""
    ask = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **more: Any) -> Any:
        here = isinstance(host, str) and any(host == domain or host.endswith(f".{domain}") for domain in domains)
        return ask("127.0.0.1" if here else host, *arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield
