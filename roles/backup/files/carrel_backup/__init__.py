# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program carrel-backup: backs up an instance with restic, restores from backups, and tests restores in drills."""
