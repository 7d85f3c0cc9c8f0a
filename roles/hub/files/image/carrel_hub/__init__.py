# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""JupyterHub's configuration, spawner and authenticators for an instance. They read files that the role hub writes."""
