#!/usr/bin/python
import re

from ansible_collections.ansible.windows.plugins.module_utils import lab

MODES = {
    "auto": "SERVICE_AUTO_START",
    "delayed": "SERVICE_DELAYED_AUTO_START",
    "manual": "SERVICE_DEMAND_START",
    "disabled": "SERVICE_DISABLED",
}
module = lab.Lab("community.windows.win_nssm")
module.only(
    *("name", "application", "state", "executable", "arguments", "working_directory", "description", "display_name"),
    *("stdout_file", "stderr_file", "start_mode", "app_environment", "app_rotate_bytes", "app_rotate_online"),
    *("app_stop_method_console", "app_stop_method_skip", "dependencies"),
)
options = module.params
name, done = options["name"], {"changed": False}


def nssm(*words):
    try:
        kind, code, output, errors = lab.run_line(lab.subprocess.list2cmdline([options["executable"], *words]))
    except ValueError as error:
        module.fail_json(msg=str(error))
    if kind == "E":
        module.fail_json(msg=f"The command {options['executable']} was not found: error {code}")
    if code:
        module.fail_json(msg=f"nssm {' '.join(words)}: status {code}: {output}{errors}", **done)
    return output


def tell(parameter, *values):
    """Let NSSM have values for a parameter, as the real module does."""
    wanted = [str(value) for value in values if value not in (None, "")]
    if [line for line in re.split("[\r\n]", nssm("get", name, parameter)) if line] != wanted:
        done.update(changed=True, changed_by=parameter)
        if not module.check_mode:
            nssm("set", name, parameter, *wanted) if wanted else nssm("reset", name, parameter)


exists = lab.service("query", name)["exists"]
if options["state"] == "absent":
    if exists and not module.check_mode:
        nssm("stop", name)
        nssm("remove", name, "confirm")
    module.exit_json(changed=exists)
if not options["application"]:
    module.fail_json(msg="The application parameter must be defined when the state is not absent.")
if not module.native(options["application"]).is_file():
    module.fail_json(msg=f'The application specified "{options["application"]}" does not exist on the host.')
if not exists:
    done.update(changed=True, changed_by="install_service")
    if module.check_mode:
        module.exit_json(**done)
    nssm("install", name, options["application"])
tell("Application", options["application"])
tell("AppDirectory", options["working_directory"] or options["application"].rpartition("\\")[0])
for parameter, option in (
    ("AppParameters", "arguments"),
    ("DisplayName", "display_name"),
    ("Description", "description"),
    ("AppStdout", "stdout_file"),
    ("AppStderr", "stderr_file"),
    ("AppStopMethodConsole", "app_stop_method_console"),
    ("AppStopMethodSkip", "app_stop_method_skip"),
):
    if options[option] is not None:
        tell(parameter, options[option])
if options["app_environment"] is not None:
    tell("AppEnvironmentExtra", *(f"{key}={value}" for key, value in options["app_environment"].items()))
if options["dependencies"] is not None:
    tell("DependOnService", *options["dependencies"])
for parameter, value in (  # the real module's own values
    ("AppStdoutCreationDisposition", 2),
    ("AppStderrCreationDisposition", 2),
    ("AppRotateFiles", 1),
    ("AppRotateOnline", options["app_rotate_online"]),
    ("AppRotateSeconds", 86400),
    ("AppRotateBytes", options["app_rotate_bytes"]),
):
    tell(parameter, value)
tell("Start", MODES[options["start_mode"]])
status = nssm("status", name)
if options["state"] in ("stopped", "restarted") and "SERVICE_STOPPED" not in status:
    done["changed"] = True
    module.check_mode or nssm("stop", name)
if options["state"] == "restarted" or (options["state"] == "started" and "SERVICE_RUNNING" not in status):
    done["changed"] = True
    module.check_mode or nssm("start", name)
module.exit_json(**done)
