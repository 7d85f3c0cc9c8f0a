# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  image:
    description: The image to ask. It must be in the engine already; it is never pulled.
    type: str
    required: true
  socket:
    description: Path of the engine's socket on the host, for a rootless engine C(/run/user/UID/docker.sock).
    type: path
    required: true
  user:
    description:
      - The C(user) as which the image runs, as in a compose file (name, C(UID) or C(UID:GID)).
      - By default the image's own user.
    type: str
  cache:
    description:
      - A file that keeps the image's answer, by the image's id, so that a container is started only for a new image.
        The modules of this collection can share one file.
      - Without it, each run starts a container.
    type: path
requirements:
  - the docker command on the host
"""
