# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program carrel-backup: backs an instance up with restic, restores from its backups, and drills that."""
