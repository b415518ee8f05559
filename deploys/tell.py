"""What people are told of a host while a deploy runs."""

from __future__ import annotations

import logging
import re

from click import unstyle
from pyinfra import logger
from pyinfra.api import Host

NOISE = re.compile(r"\]\s+(No changes|Error( \(ignored\))?: executed \d+ commands)$")


def say(host: Host, text: str) -> None:
    """Say what was found or done."""
    for line in text.strip().splitlines():
        logger.info(f"{host.print_prefix}{line}")


def complain(host: Host, text: str) -> None:
    """Say why a host has failed."""
    for line in text.strip().splitlines():
        logger.error(f"{host.print_prefix}{line}")


def is_news(record: logging.LogRecord) -> bool:
    """Whether a line of pyinfra's is to be shown: "No changes" is of the way back, which was not needed, and would
    stand below what was changed; how many commands an operation ran that failed helps nobody. The summary says what has
    become of a host."""
    return not NOISE.search(unstyle(record.getMessage()))
