# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of resets look at, and how they bring about what a reset must survive."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from typing import Any

from testbed import hosts
from testbed.client import Kernel, Lab
from testbed.run import alone, run

from .conftest import Site, reset, run_on, until

HOST = "carrel-test-1"
DONE, FAILED, ANOTHER, PUT_OFF, DOWN = 0, 1, 3, 4, 5
HOME = (
    "cd /srv/$0/data && find \"$@\" -printf '%p %y %U:%G %m %s %l\\n' | LC_ALL=C sort "
    '&& find "$@" -type f -exec sha256sum {} + | LC_ALL=C sort'
)


def servers(site: Site) -> list[str]:
    """Id and start of every container of the project, running or not."""
    project = f"label=com.docker.compose.project={site.name}"
    names = site.docker("ps", "--all", "--quiet", "--no-trunc", "--filter", project).split()
    # one may go away in between
    return site.started(*names, check=False).splitlines() if names else []


def home(site: Site, *folders: str) -> str:
    """Everything that people keep, or folders of it: names, owners, modes, sizes, links and content."""
    return run_on(site.host, "sh", "-c", HOME, site.name, *(folders or (".",)))


def state(site: Site) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run_on(site.host, "cat", f"/var/lib/carrel/{site.name}/reset/state.json"))
    return found


@contextlib.contextmanager
def settings(site: Site, **changed: Any) -> Iterator[None]:
    """The reset with other settings for a while."""
    path = f"/etc/carrel/reset/{site.name}.json"
    before = run_on(site.host, "cat", path)
    run_on(site.host, "tee", path, input_text=json.dumps({**json.loads(before), **changed}))
    try:
        yield
    finally:
        run_on(site.host, "tee", path, input_text=before)


def whole(site: Site) -> None:
    """A further reset leaves one server that answers, and nothing over."""
    output = ""

    def alone() -> bool:
        nonlocal output
        code, output = reset(site, "--people", "ignore", "--no-pull")
        assert code in (DONE, ANOTHER), output
        return code == DONE

    # a docker command of a reset that was killed has yet to end
    until(alone, lambda: f"the reset is alone: {output}", pause=1)
    sound(site)


def sound(site: Site) -> None:
    """The last reset has left one server that answers, and nothing over."""
    assert len(servers(site)) == 1
    assert state(site)["result"] == "done"
    assert "./notebooks/RESET-NOTICE.txt" not in home(site)
    site.lab().login(site.secret)


def push(tag: str, *lines: str) -> str:
    """Build an image on top of the lab's and push it to the registry; return its id."""
    address = f"{hosts.registry_address()}/carrel/lab"
    name = f"{address}:{tag}"
    dockerfile = "\n".join([f"FROM {address}:1.0", "USER root", *lines, "USER 1000:100"])
    with alone("push"):
        subprocess.run(
            ["docker", "build", "--quiet", "--force-rm", "--tag", name, "-"],
            input=dockerfile, text=True, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        run("docker", "push", "--quiet", name)
        try:
            return run("docker", "image", "inspect", "--format", "{{.Id}}", name)
        finally:
            run("docker", "image", "rm", name, f"{address}:1.0")


def work(lab: Lab, code: str) -> Kernel:
    """Let a new kernel run code and return once the server says that it is busy."""
    kernel = lab.kernel()
    kernel.socket.send(execute(code))
    until(lambda: "busy" in lab.request("GET", f"api/kernels/{kernel.identifier}").text, "the kernel is busy")
    return kernel


def execute(code: str) -> str:
    """A request to a kernel's websocket whose answer nobody waits for."""
    header = {"msg_id": "1", "msg_type": "execute_request", "session": "1", "username": "", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "user_expressions": {}}
    return json.dumps({"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"})
