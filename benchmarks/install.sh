#!/bin/sh
# Install a DLS by hand, as the vendor's pages say: no manifest, no checks but the checksum, no way back.
# The yardstick for the playbook, in `./dls bench install`. A second run does again whatever it does not look at.
#
#   install.sh ARCHIVE SHA256 SSH...        SSH...: the ssh command that reaches the host
set -eu
archive=$1 sha256=$2
shift 2
echo "$sha256  $archive" | sha256sum --check --quiet
if ! "$@" "echo '$sha256  /opt/dls.tar.gz' | sha256sum --check --status 2>/dev/null"; then
    "$@" 'sudo tee /opt/dls.tar.gz >/dev/null' <"$archive"
fi
"$@" "sudo sh -eus $sha256" <<'REMOTE'
echo "$1  /opt/dls.tar.gz" | sha256sum --check --quiet
dpkg-query --show net-tools >/dev/null 2>&1 || { apt-get -qq update && apt-get -qq install -y net-tools >/dev/null; }
if [ ! -d /opt/dls-linux ]; then
    tar -xzf /opt/dls.tar.gz -C /opt --no-same-owner
    chmod -R 755 /opt/dls-linux
fi
cat >/etc/systemd/system/dls.service <<'UNIT'
[Unit]
Description=Dynamsoft License Server
After=network-online.target
[Service]
Type=forking
WorkingDirectory=/opt/dls-linux
ExecStart=/opt/dls-linux/startup.sh
SuccessExitStatus=143
Restart=always
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --quiet --now dls
tries=0
until curl --silent --fail --output /dev/null http://127.0.0.1:48080/page/index.html; do
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] || { journalctl --no-pager --lines 20 --unit dls >&2; exit 1; }
    sleep 0.2
done
REMOTE
