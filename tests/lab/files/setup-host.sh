#!/bin/sh
# Make a started container reachable as an operator's host is: own SSH host keys, one user with a key and sudo.
#
#   setup-host.sh USER PUBLIC_KEY
set -eu
user=$1 key=$2
rm -f /etc/ssh/ssh_host_*
ssh-keygen -q -A
id "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$user"
home=$(getent passwd "$user" | cut -d: -f6)
install -d -m 0700 -o "$user" -g "$user" "$home/.ssh"
printf '%s\n' "$key" >"$home/.ssh/authorized_keys"
chown "$user:" "$home/.ssh/authorized_keys"
printf '%s ALL=(ALL) NOPASSWD: ALL\n' "$user" >"/etc/sudoers.d/$user"
chmod 0440 "/etc/sudoers.d/$user"
if ! systemctl --quiet is-active ssh.socket; then # that one starts an sshd for each connection
    unit=ssh
    systemctl cat sshd.service >/dev/null 2>&1 && unit=sshd
    systemctl reset-failed "$unit" # the image has no host keys, so its first start failed
    systemctl restart "$unit"
fi
cat /etc/ssh/ssh_host_ed25519_key.pub
