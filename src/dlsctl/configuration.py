"""Configuration: dls.json and the ports in the vendor's start script."""

import json
import os
import re
from typing import Any, Dict, List, Optional, Tuple

from dlsctl.files import read_bytes, read_json
from dlsctl.installation import Installation
from dlsctl.problems import Refused

Error = Tuple[str, str, Optional[str]]  # (where, rule, got)

# Vendor documentation, "Main and standby servers": first the main, then the standby, one of them this host.
SERVERS_SCHEMA = {
    "type": "array",
    "minItems": 2,
    "maxItems": 2,
    "uniqueItems": True,
    "contains": {"const": "self"},
    "items": {"type": "string", "pattern": "^(self|https?://[^\\s/]+(/\\S*)?)$"},
}
DLS_JSON_SCHEMA = {
    "type": "object",
    "required": ["servers"],
    "properties": {
        "serverMode": {"type": "string"},
        "servers": SERVERS_SCHEMA,
        "bDynamHost": {"type": "boolean"},
    },
}
JSON_TYPES = {"object": dict, "array": list, "string": str, "boolean": bool}


def schema_errors(schema: Dict[str, Any], value: Any, where: str = "dls.json") -> List[Error]:
    """The ways in which `value` breaks `schema`: (where, rule, got). Knows the keywords that DLS_JSON_SCHEMA uses."""
    if "const" in schema and value != schema["const"]:
        return [(where, "must be {}".format(schema["const"]), repr(value))]
    if "type" in schema and not isinstance(value, JSON_TYPES[schema["type"]]):
        return [(where, "must be of type {}".format(schema["type"]), json.dumps(value))]
    if isinstance(value, dict):
        return object_errors(schema, value, where)
    if isinstance(value, list):
        return array_errors(schema, value, where)
    if isinstance(value, str) and "pattern" in schema and not re.fullmatch(schema["pattern"], value):
        return [(where, "must be self or an http(s) URL", repr(value))]
    return []


def object_errors(schema: Dict[str, Any], value: Dict[str, Any], where: str) -> List[Error]:
    errors: List[Error] = [
        (where, "must hold {}".format(key), None) for key in schema.get("required", []) if key not in value
    ]
    for key, part in schema.get("properties", {}).items():
        if key in value:
            errors += schema_errors(part, value[key], "{}/{}".format(where, key))
    return errors


def array_errors(schema: Dict[str, Any], value: List[Any], where: str) -> List[Error]:
    errors: List[Error] = []
    shown = json.dumps(value)
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        errors.append((where, "must have {} entries".format(schema["minItems"]), shown))
    if schema.get("uniqueItems") and len({json.dumps(item) for item in value}) != len(value):
        errors.append((where, "must not name a server twice", shown))
    if "contains" in schema and all(schema_errors(schema["contains"], item) for item in value):
        errors.append((where, "must name this host as self", shown))
    for number, item in enumerate(value):
        errors += schema_errors(schema.get("items", {}), item, "{}/{}".format(where, number))
    return errors


def wanted_dls_json(inst: Installation, base: str) -> Optional[bytes]:
    """The bytes that a release's dls.json should have, or None where the kit has no say in it.

    The keys of `<config_dir>/dls.json` win; every other key stays as it is in the release, or as its sample has it.
    """
    owned = read_json(os.path.join(inst.config_dir, "dls.json"))
    if owned is None:
        return None
    path = os.path.join(base, "dls.json")
    existing = read_json(path)
    merged = dict(sample_keys(base) if existing is None else existing)
    merged.update(owned)
    for where, rule, got in schema_errors(DLS_JSON_SCHEMA, merged):
        raise Refused(where, rule, got, "correct dls_server_main_url and dls_server_standby_url in the inventory")
    return read_bytes(path) if merged == existing else (json.dumps(merged, indent=2) + "\n").encode()


def sample_keys(base: str) -> Dict[str, Any]:
    try:
        sample = read_json(os.path.join(base, "dls.json.sample"))
    except Refused:
        return {}
    return sample if isinstance(sample, dict) else {}
