"""Every rule for archives has a case that breaks it, and says what, the rule, the value and the next action."""

import ast
import re
from pathlib import Path

import pytest

from dlsctl import archives, gunzip, members, tarballs, unpacking
from dlsctl.problems import EXIT_REFUSED, Refused
from dlskit import archive
from dlskit.archive import inspect
from tests.archives.cases import CASES, Case


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_refuses_and_says_what_rule_value_and_next_action(case: Case, tmp_path: Path) -> None:
    path = tmp_path / (case.name or "renamed.bin")
    path.write_bytes(case.content)
    with pytest.raises(Refused) as caught:
        inspect(path, case.limits)
    problem = caught.value
    assert problem.what == path.name + (f", member {case.member}" if case.member else "")
    assert problem.rule == case.rule
    got = None if problem.got is None else str(problem.got)
    assert got == case.got or (got and case.got and re.fullmatch(case.got, got)), got
    assert problem.hint == case.hint
    assert str(problem).isascii()
    assert problem.code == EXIT_REFUSED


def test_every_rule_in_the_code_has_a_case() -> None:
    proved = [case.rule for case in CASES.values()] + ELSEWHERE
    unproved = [rule for rule in _rules_in_code() if not any(re.fullmatch(rule, text) for text in proved)]
    assert unproved == []


ELSEWHERE = [  # rules asserted by a test of their own
    "must have a directory of at most 67108864 bytes",
    "must be a file",
    "must be a readable file",
    "must be an empty folder",
    "must be a writable folder with room for the release",
    "must not change while it is read",
]


def _rules_in_code() -> list[str]:
    """The text of every rule, as an expression: literals in the modules that read and unpack archives."""
    found = []
    for module in (archives, gunzip, members, tarballs, unpacking, archive):
        for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.match(r"must \w", node.value):
                found.append(re.sub(r"\\\{.*?\\\}", ".*", re.escape(node.value)) + ".*")
    assert len(found) > 60
    return found
