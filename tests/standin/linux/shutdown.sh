#!/bin/sh
# Stops the stand-in that runs in this folder and waits for it. Whether the vendor has such a file on Linux is unknown.
set -eu
here=$(pwd -P)
launchers() {
    for process in /proc/[0-9]*; do
        if [ "$(readlink "$process/cwd" 2>/dev/null)" = "$here" ] &&
            grep -qa 'bin/dynamsoftdlsx' "$process/cmdline" 2>/dev/null; then
            echo "${process#/proc/}"
        fi
    done
}
for pid in $(launchers); do kill -TERM "$pid"; done
while [ -n "$(launchers)" ]; do sleep 0.1; done
