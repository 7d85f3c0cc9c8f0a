#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: server_config
short_description: Write jupyter_server_config.json with a password or a token
version_added: 0.1.0
author: the carrel.jupyter authors (@carrel)
description:
  - Writes a configuration that jupyter_server 1.24 to 2.x read alike, for the container's user and nobody else.
  - A password is stored as the argon2 hash that jupyter_server's own C(passwd) makes. A hash that fits is kept.
  - Without O(password) and O(token) a token is generated once and kept in O(token_file).
  - RV(checksum) does not depend on the generated token, so that a reset may rotate it, in O(path) and O(token_file)
    alike. A token that this module generates, because O(token_file) was removed, does change it.
  - With O(password) and without O(token), nobody can log in by a token.
  - Changing the password in the browser is turned off, as the file is not the server's to write.
options:
  path:
    description:
      - The file. Missing directories above it are made; neither it nor any part of its path may be a symbolic link.
      - Its directory goes into the container's E(JUPYTER_CONFIG_PATH).
    type: path
    required: true
  settings:
    description:
      - Further traits, by class. They are shown in the diff, so no secrets here.
    type: dict
    default: {}
  password:
    description: The password, in clear text.
    type: str
  token:
    description: A fixed token. It is not written to O(token_file).
    type: str
  token_file:
    description:
      - Where a generated token is kept, with a line end. Required without O(password) and O(token).
      - With one of them, a file from before is removed, since its token is no longer good.
    type: path
  cookie_secret_file:
    description:
      - The secret that log-ins are signed with, for the trait C(ServerApp.cookie_secret_file). Generated once, so that
        people stay logged in when the container is made anew.
      - Another password or token brings a new one, which logs everybody out.
    type: path
  owner:
    description:
      - The numeric user id, on the host, that owns O(path) and O(cookie_secret_file); that of the container's user.
    type: int
    required: true
  group:
    description: The numeric group id, on the host, of O(path) and O(cookie_secret_file).
    type: int
    required: true
  account_owner:
    description: The numeric user id that owns O(token_file).
    type: int
    default: 0
  account_group:
    description: The numeric group id of O(token_file).
    type: int
    default: 0
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
    details: A new password's hash, and with it RV(checksum), differ from the real run's, since hashes are salted.
  diff_mode:
    support: full
    details: Secrets are masked.
  idempotent:
    support: full
requirements:
  - argon2-cffi on the host, for O(password) (Debian's package is python3-argon2)
"""

EXAMPLES = r"""
- name: A lab with a password
  carrel.jupyter.server_config:
    path: /srv/tao/server/jupyter_server_config.json
    password: "{{ vault_tao_password }}"
    owner: 100999
    group: 100099
    settings:
      ServerApp:
        base_url: /tao/
        shutdown_no_activity_timeout: 0

- name: A lab with a generated token
  carrel.jupyter.server_config:
    path: /srv/tao/server/jupyter_server_config.json
    token_file: /srv/tao/token
    owner: 100999
    group: 100099
    account_owner: 1001
    account_group: 1001
    cookie_secret_file: /srv/tao/server/cookie_secret
    settings:
      ServerApp:
        cookie_secret_file: /etc/carrel/cookie_secret
"""

RETURN = r"""
path:
  description: The file.
  type: str
  returned: success
checksum:
  description:
    - A SHA-256 for a label that makes compose recreate the container when it changes.
    - It is that of the file, unless the token is a generated one.
  type: str
  returned: success
token_generated:
  description: Whether people log in with the token in O(token_file).
  type: bool
  returned: success
"""

import secrets
import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._site import server_config

try:
    import argon2
    import argon2.exceptions

    ARGON2_ERROR = None
except ImportError:
    ARGON2_ERROR = traceback.format_exc()


COOKIE_SECRET_BYTES = 32


def hash_password(password: str, present: str) -> str:
    """As jupyter_server.auth.security.passwd does; the present hash if it fits."""
    hasher = argon2.PasswordHasher(memory_cost=10240, time_cost=10, parallelism=8)
    algorithm, _unused, encoded = present.partition(":")
    if algorithm == "argon2":
        try:
            if hasher.verify(encoded, password) and not hasher.check_needs_rehash(encoded):
                return present
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHash):
            pass
    return "argon2:" + hasher.hash(password)


def kept_token(path: str) -> str | None:
    file = files.read(path)
    if file is None:
        return None
    token = file.content.decode("ascii", "replace").strip()
    if not server_config.GENERATED.fullmatch(token):
        raise files.UnsafePathError(f"token_file {path} does not hold a token: remove it, and a new one is generated")
    return token


def generation(present: dict[str, object], token: str) -> str:
    """That of the token which is there, be it rotated; a new one with a new token."""
    known = server_config.secret(present, *server_config.GENERATION)
    if known and server_config.secret(present, "IdentityProvider", "token") == token:
        return known
    return secrets.token_hex(8)


def keep_cookie_secret(module: AnsibleModule, tracker: Tracker, renew: bool) -> None:
    params = module.params
    path = params["cookie_secret_file"]
    before = files.read(path)
    content = before.content if before and len(before.content) >= COOKIE_SECRET_BYTES and not renew else None
    content = content or (secrets.token_hex(COOKIE_SECRET_BYTES) + "\n").encode()
    file = File(content, 0o400, params["owner"], params["group"])
    if tracker.note(path, before, file, show=hidden(before, file)) and not module.check_mode:
        files.write(path, file)


def apply(module: AnsibleModule) -> dict[str, object]:
    params = module.params
    tracker = Tracker()
    before = files.read(params["path"])
    present = server_config.parse(before.content if before else None)
    hashed = ""
    if params["password"] is not None:
        hashed = hash_password(
            params["password"], server_config.secret(present, "PasswordIdentityProvider", "hashed_password")
        )
    generated = params["password"] is None and params["token"] is None
    token = (kept_token(params["token_file"]) or secrets.token_hex(24)) if generated else params["token"] or ""

    if generated:
        file = File((token + "\n").encode(), 0o600, params["account_owner"], params["account_group"])
        current = files.read(params["token_file"])
        if tracker.note(params["token_file"], current, file, show=hidden(current, file)) and not module.check_mode:
            files.write(params["token_file"], file)

    config = server_config.build(params["settings"], hashed, token, generation(present, token) if generated else "")
    # First: a run that is killed in between finds other credentials again.
    if params["cookie_secret_file"]:
        keep_cookie_secret(module, tracker, not server_config.same_credentials(present, config))
    file = File(server_config.text(config).encode(), 0o400, params["owner"], params["group"])
    old, new = server_config.masked(present, config)
    show = (described(before, old), described(file, new))
    if tracker.note(params["path"], before, file, show=show) and not module.check_mode:
        files.write(params["path"], file)

    if not generated and params["token_file"]:
        current = files.read(params["token_file"])
        if tracker.note(params["token_file"], current, None, show=hidden(current, None)) and not module.check_mode:
            files.remove(params["token_file"])
    checksum = server_config.checksum(config)
    return tracker.result(path=params["path"], checksum=checksum, token_generated=generated)


def described(file: File | None, shown: str) -> str:
    return File(shown.encode(), file.mode, file.uid, file.gid).describe() if file else ""


def hidden(before: File | None, after: File | None) -> tuple[str, str]:
    new = before is None or after is None or before.content != after.content
    return (
        described(before, server_config.HIDDEN + "\n"),
        described(after, server_config.HIDDEN + (" (new)\n" if new else "\n")),
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "settings": {"type": "dict", "default": {}},
            "password": {"type": "str", "no_log": True},
            "token": {"type": "str", "no_log": True},
            "token_file": {"type": "path", "no_log": False},
            "cookie_secret_file": {"type": "path", "no_log": False},
            "owner": {"type": "int", "required": True},
            "group": {"type": "int", "required": True},
            "account_owner": {"type": "int", "default": 0},
            "account_group": {"type": "int", "default": 0},
        },
        required_one_of=[("password", "token", "token_file")],
        supports_check_mode=True,
    )
    if module.params["password"] is not None and ARGON2_ERROR:
        reason = "on this host to hash the password (apt install python3-argon2)"
        module.fail_json(msg=missing_required_lib("argon2-cffi", reason=reason), exception=ARGON2_ERROR)
    wrong = server_config.problems(module.params["settings"], module.params["password"], module.params["token"])
    if wrong:
        module.fail_json(msg="; ".join(wrong))
    try:
        module.exit_json(**apply(module))
    except (files.UnsafePathError, OSError) as error:
        module.fail_json(msg=f"{error}. {module.params['path']} stays as it was.")


if __name__ == "__main__":
    main()
