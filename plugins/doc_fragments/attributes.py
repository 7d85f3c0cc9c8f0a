# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and return what would change, without changing it.
  diff_mode:
    description: Returns the details of what has changed, or would change in check mode, when run with C(--diff).
  idempotent:
    description: Run twice in a row, with nothing changed in between, the second run changes nothing.
"""
