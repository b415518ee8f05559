#!/bin/sh
# Starts the stand-in (not the vendor's server) in the background and returns. Run it from inside its folder.
# You can edit the last line to change the listening ports.
set -eu

fail() {
    echo "startup.sh: $1" >&2
    exit 1
}

# A caller that reads our output through a pipe, or through the socket of an ssh session, waits until every process
# that holds it has ended. The journal is a socket too, but there nobody waits, and the server's lines belong there.
waits() {
    [ -p "$1" ] || { [ -S "$1" ] && [ -z "${JOURNAL_STREAM:-}" ]; }
}

[ -x ./linux/bin/dynamsoftdlsx ] || fail "must be run from inside the folder that holds linux/, got $PWD"

# Started by root, the server runs as a user of its own. setpriv execs, where su and runuser would stay as a parent and
# open a PAM session, which takes the processes out of their systemd unit.
as=''
if [ "$(id -u)" -eq 0 ]; then
    user=dynamsoft
    id "$user" >/dev/null 2>&1 || useradd --system --user-group --no-create-home --shell /usr/sbin/nologin "$user"
    chown -Rh "$user:" .
    as="setpriv --reuid=$user --regid=$user --init-groups"
    $as test -x "$PWD/linux/jre/bin/dynamsoftdls" || fail "user $user cannot reach $PWD"
fi

if waits /dev/stdout; then exec >/dev/null; fi
if waits /dev/stderr; then exec 2>/dev/null; fi
# shellcheck disable=SC2086 # $as is empty or one command with its options
setsid $as ./linux/bin/dynamsoftdlsx ./linux/jre/bin/dynamsoftdls --add-opens java.base/jdk.internal.loader=ALL-UNNAMED -jar ./dls-@VERSION@.jar --server.port=48080 </dev/null &
