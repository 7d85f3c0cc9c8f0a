# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub as jupyterhub-deploy-docker sets it up: its files, and a person who signs up there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .hub_client import Hub

COMPOSE = """
services:
  hub:
    image: ${HUB_IMAGE}
    entrypoint: [jupyterhub]
    command: [-f, /srv/jupyterhub/jupyterhub_config.py]
    container_name: ${NAME}
    restart: always
    networks: [jupyterhub-network]
    volumes:
      - ./jupyterhub_config.py:/srv/jupyterhub/jupyterhub_config.py:ro
      - /var/run/docker.sock:/var/run/docker.sock:rw
      - jupyterhub-data:/data
    ports: ["127.0.0.1:${PORT}:8000"]
    environment:
      PATH: /opt/proxy/node_modules/.bin:/opt/hub/bin:/usr/local/bin:/usr/bin:/bin
      JUPYTERHUB_ADMIN: ${ADMIN}
      DOCKER_NETWORK_NAME: ${NAME}-network
      DOCKER_NOTEBOOK_IMAGE: ${LAB_IMAGE}
      DOCKER_NOTEBOOK_DIR: /home/jovyan/work
volumes:
  jupyterhub-data: {name: "${NAME}-data"}
networks:
  jupyterhub-network: {name: "${NAME}-network"}
"""
CONFIG = """
import os
from unittest import mock
from nativeauthenticator import handlers
# NativeAuthenticator 1.3.0 uses it, and JupyterHub 6 does not have it any more.
handlers.LoginHandler.statsd = mock.MagicMock()
c = get_config()
c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"
c.DockerSpawner.image = os.environ["DOCKER_NOTEBOOK_IMAGE"]
c.DockerSpawner.cmd = ["jupyterhub-singleuser"]
c.DockerSpawner.network_name = os.environ["DOCKER_NETWORK_NAME"]
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.notebook_dir = "/home/jovyan/work"
c.DockerSpawner.volumes = {"jupyterhub-user-{username}": "/home/jovyan/work"}
c.DockerSpawner.remove = True
c.JupyterHub.hub_ip = os.environ["DOCKER_NETWORK_NAME"].removesuffix("-network")
c.JupyterHub.cookie_secret_file = "/data/jupyterhub_cookie_secret"
c.JupyterHub.db_url = "sqlite:////data/jupyterhub.sqlite"
c.JupyterHub.authenticator_class = "nativeauthenticator.NativeAuthenticator"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = [os.environ["JUPYTERHUB_ADMIN"]]
c.NativeAuthenticator.open_signup = True
"""


def project(settings: Mapping[str, str | int]) -> dict[str, str]:
    """The project's files by their names. SETTINGS are compose's variables."""
    variables = "".join(f"{key}={value}\n" for key, value in settings.items())
    return {"docker-compose.yml": COMPOSE, "jupyterhub_config.py": CONFIG, ".env": variables}


def write(folder: Path, settings: Mapping[str, str | int]) -> None:
    """Write the project's files into a folder."""
    for name, text in project(settings).items():
        (folder / name).write_text(text)


def sign_up(hub: Hub, name: str, password: str) -> None:
    """On NativeAuthenticator's own page."""
    hub.request("GET", "signup")
    fields = {"signup_password": password, "signup_password_confirmation": password}
    token = hub.http.cookies.get("_xsrf", path="/hub/")
    hub.request("POST", "signup", data={"username": name, "_xsrf": token, **fields})
