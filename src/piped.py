"""Run a program of the kit through the host's Python without being there: `python3 -I -c TEXT-OF-THIS-FILE`.

Standard input holds JSON: {"modules": [[name, source], ...], the last one's main() is called with "arguments" and
"spec"}. What is asked comes this way because it may hold a private key: everybody on the host sees an argument vector.
With -I no module in the folder where the command happens to run is taken for Python's own.
"""

import json
import sys
import types

document = json.loads(sys.stdin.buffer.read().decode())
for name, source in document["modules"]:
    module = types.ModuleType(name)
    module.__dict__["SOURCE"] = source  # what dlsctl writes where it is to be installed
    sys.modules[name] = module
    exec(compile(source, name + ".py", "exec"), module.__dict__)  # noqa: S102 - it is what this file is for
sys.exit(module.main(document["arguments"], document["spec"]))
