# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written here follows the collection's own configuration of the hub; c is JupyterHub's configuration."""

c.JupyterHub.template_vars["announcement"] = "Exam on Friday: please save your work."  # noqa: F821
