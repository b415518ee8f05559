"""Saving: whether backups can be made as the variables say, asked before a host changes or a server is stopped."""

import os
from typing import Iterator

from dlsctl.installation import Installation
from dlsctl.look import as_configured
from dlsctl.packs import encryption_for, require_tool
from dlsctl.problems import Problem, Refused, one_line
from dlsctl.push import require_pushable
from dlsctl.values import set_hint

UNSEAL = "or take dls_server_backup_recipient out of the inventory and run the install playbook"


def saving_problems(inst: Installation) -> Iterator[Problem]:
    """What would keep a host that has these settings from being backed up. Its place for copies is asked once,
    and so is that of its metrics."""
    try:
        require_sealable(inst)
    except Problem as problem:
        yield problem
    now = as_configured(inst)
    if inst.backup_push and (now is inst or place_of(now) != place_of(inst)):
        try:
            require_pushable(*place_of(inst))
        except Problem as problem:
            yield problem
    if inst.backup_metrics and (now is inst or now.backup_metrics != inst.backup_metrics):
        folder = os.path.dirname(inst.backup_metrics)
        if not os.path.isdir(folder):
            rule = "must be a folder that is there, for dls_server_backup_metrics"
            yield Refused(one_line(folder), rule, "none", "make it, or name another file")


def place_of(inst: Installation) -> "tuple[str, str]":
    return inst.backup_push, inst.backup_push_key


def require_sealable(inst: Installation) -> None:
    """Raise Refused where this host cannot encrypt to its recipient."""
    encryption = encryption_for(inst.backup_recipient)
    if not encryption:
        return
    try:
        require_tool(encryption)
    except Refused as problem:
        problem.hint = "{}, {}".format(problem.hint, UNSEAL)
        raise
    if encryption == "gpg" and not os.path.isfile(inst.backup_recipient):
        hint = "copy the public key there, " + UNSEAL
        raise Refused("dls_server_backup_recipient", "must be a key on this host", inst.backup_recipient, hint)


def require_same_recipient(inst: Installation) -> None:
    """Raise Refused where a backup would not be encrypted as the variables say, but as the host was told before."""
    theirs = as_configured(inst).backup_recipient
    if theirs != inst.backup_recipient:
        raise Refused(
            "dls_server_backup_recipient",
            "must be the one that this host encrypts to, {}".format(one_line(theirs) or "none"),
            one_line(inst.backup_recipient) or "none",
            "run the install or site playbook first, or " + set_hint("dls_server_backup_recipient"),
        )
