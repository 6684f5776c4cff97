"""A small Debian image as the base of the worker's image, even on machines that can't pull images."""

import os
import shutil
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import docker
from docker.errors import DockerException, ImageNotFound

from tests.support.containers import absent, docker_expected

TAG: Final = "webhook-pipeline/test-debian:1"
PULLED: Final = "debian:bookworm-slim"
# The Debian with the oldest Python that is supported, 3.11.
SUITE: Final = "bookworm"

DOCKERFILE: Final = """
ARG BASE
FROM ${BASE}
# The certificates that this machine trusts: it may be behind a proxy with its own certificate.
COPY certificates.pem /etc/ssl/site.pem
ENV PIP_CERT=/etc/ssl/site.pem
"""


def debian_image(client: docker.DockerClient) -> str:
    """The tag of a Debian image with this machine's trusted certificates. It is pulled or built once per engine."""
    try:
        client.images.get(TAG)
    except ImageNotFound:
        _build(client, _pulled(client) or _bootstrapped(client))
    return TAG


def _build(client: docker.DockerClient, base: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Dockerfile").write_text(DOCKERFILE)
        certificates = ssl.get_default_verify_paths().cafile
        (folder / "certificates.pem").write_bytes(Path(certificates).read_bytes() if certificates else b"")
        client.images.build(path=name, tag=TAG, buildargs={"BASE": base}, rm=True)


def _pulled(client: docker.DockerClient) -> str | None:
    try:
        client.images.pull(PULLED)
    except DockerException:
        return None
    return PULLED


def _bootstrapped(client: docker.DockerClient) -> str:
    if sys.platform != "linux" or os.geteuid() != 0:
        absent(f"{PULLED} can't be pulled, and only root on Linux can make a Debian", expected=docker_expected())
    if shutil.which("debootstrap") is None:
        _run("apt-get", "update", "-qq")
        _run("apt-get", "install", "-qq", "--yes", "--no-install-recommends", "debootstrap")
    repository, _, tag = f"{TAG}-bare".partition(":")
    with tempfile.TemporaryDirectory() as name:
        root, archive = Path(name, "root"), Path(name, "root.tar")
        _run("debootstrap", "--variant=minbase", SUITE, str(root))
        leave_out = [f"--exclude=./{folder}/*" for folder in ("dev", "proc", "sys", "var/cache/apt/archives")]
        _run("tar", "--create", "--file", str(archive), "--directory", str(root), *leave_out, ".")
        client.api.import_image_from_file(str(archive), repository=repository, tag=tag)
    return f"{repository}:{tag}"


def _run(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-5:])
        absent(f"{command[0]} failed: {last}", expected=docker_expected())
