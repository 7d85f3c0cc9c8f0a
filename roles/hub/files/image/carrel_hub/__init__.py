# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An instance's hub: JupyterHub's configuration, spawner and authenticators, which read what the role hub wrote."""
