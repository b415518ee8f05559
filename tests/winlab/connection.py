"""Ends the lab's connection to Windows, which is the local one: modules run in a fork of Ansible's own process.

What a module imports is there already, so it takes a sixth of the time of a Python that is started for it.
"""

import os
import re
import sys
import tempfile
import traceback

from ansible.plugins.connection.local import Connection as Local

MODULE = re.compile(rf"/bin/sh -c '{re.escape(sys.executable)} && sleep 0'")


class Connection(Local):
    def exec_command(self, cmd, in_data=None, sudoable=True):
        """Run a module that is piped to Python; leave any other command as it is."""
        if not in_data or not MODULE.fullmatch(cmd):
            return super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            child = os.fork()
            if not child:
                _run(in_data, output.fileno(), errors.fileno())
            _, status = os.waitpid(child, 0)
            output.seek(0)
            errors.seek(0)
            return os.waitstatus_to_exitcode(status), output.read(), errors.read()


def _run(program, output, errors):
    """Be a Python with this program on its standard input."""
    code = 1
    try:
        for source, target in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (errors, 2)):
            os.dup2(source, target)
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
        sys.argv = [""]
        exec(compile(program, "<stdin>", "exec"), {"__name__": "__main__"})  # noqa: S102
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
