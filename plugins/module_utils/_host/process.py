# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run programs as an account, or about one: with a deadline, limited output and no terminal."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._host import programs
from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable

EndlessError = programs.EndlessError
LONG_SECONDS = 7 * 24 * 60 * 60  # for programs whose own limits depend on their settings
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Done:
    code: int
    output: str
    errors: str  # cleaned


def run(
    command: Sequence[str],
    seconds: float,
    account: pwd.struct_passwd | None = None,
    environment: dict[str, str] | None = None,
    data: str = "",
) -> Done:
    """Run a program in a new session. DATA is its standard input.

    As an account, it gets ENVIRONMENT and little else. It has no terminal, because it could type into one that it
    shares with root. Raises EndlessError, and OSError if there is no such program.
    """
    with programs.standard_input(data) as standard_input:
        program = subprocess.Popen(
            list(command), stdin=standard_input, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/",
            start_new_session=True, **_identity(account, environment or {}),
        )  # fmt: skip
    try:
        code, output, errors = programs.collect(program, seconds)
    except EndlessError as error:
        raise EndlessError(f"{command[0]} {error} and was killed") from error
    return Done(code, output, printable.text(errors))


def _identity(account: pwd.struct_passwd | None, environment: dict[str, str]) -> dict[str, Any]:
    if account is None:
        return {"env": {**os.environ, **environment}}
    own = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name}
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups, "env": {**own, **environment}}
