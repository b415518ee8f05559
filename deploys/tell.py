"""What people are told of a host while a deploy runs."""

from __future__ import annotations

from pyinfra import logger
from pyinfra.api import Host


def say(host: Host, text: str) -> None:
    """Say what was found or done."""
    for line in text.strip().splitlines():
        logger.info(f"{host.print_prefix}{line}")


def complain(host: Host, text: str) -> None:
    """Say why a host has failed."""
    for line in text.strip().splitlines():
        logger.error(f"{host.print_prefix}{line}")
