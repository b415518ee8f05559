"""Results: what the last runs have come to, for whoever has lost sight of one."""

import os
from typing import Any, Dict, List

from dlsctl.files import read_json, write_json
from dlsctl.host import utc_now
from dlsctl.installation import Installation
from dlsctl.problems import EXIT_OK, Problem

Result = Dict[str, Any]  # {verb, name, begun, ended, code} and {answer, text} or {problem}
KEPT = 10  # a run that was interrupted is asked for after the scheduled backup that came next


def results_path(inst: Installation) -> str:
    return os.path.join(inst.kit, "outcome.json")


def results(inst: Installation) -> List[Result]:
    """The last results, the oldest first."""
    return list((read_json(results_path(inst)) or {}).get("results", []))


def keep_result(inst: Installation, verb: str, name: str, begun: str, result: Result) -> None:
    """Keep the result of a run that was given a name, or none."""
    told = dict(result, verb=verb, name=name, begun=begun, ended=utc_now())
    write_json(results_path(inst), {"results": [*results(inst), told][-KEPT:]}, 0o600)


def done(answer: Dict[str, Any], text: str) -> Result:
    return {"code": EXIT_OK, "answer": answer, "text": text}


def failed(problem: Problem) -> Result:
    return {"code": problem.code, "problem": problem.as_dict()}
