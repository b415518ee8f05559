#!/bin/sh
# Print what a deployment could change on this host, one line each: files with mode, owner and hash, units, users,
# groups, packages and listening ports. Two snapshots of an untouched host are equal.
set -eu
# Left out: what the host writes by itself (journal, caches, package lists, leases, random seed) and uses of sudo.
# Also /etc/passwd- and its like, which useradd and userdel leave behind.
find /etc /opt /usr/local /var /root /srv \
    \( -path '/etc/*-' -o -path /var/log -o -path /var/cache -o -path /var/lib/apt -o -path /var/lib/systemd -o -path /var/tmp \
    -o -path /var/lib/sudo -o -path /var/lib/dpkg/lock -o -path /var/lib/dpkg/lock-frontend \
    -o -path /var/lib/dpkg/triggers/Lock -o -path /var/lib/dnf -o -path /var/lib/rpm -o -path /root/.ansible \) -prune \
    -o -printf '%y %m %U:%G %p %l\n' | sort
find /etc /opt /usr/local -type f ! -path '/etc/*-' -exec sha256sum {} + | sort -k2
systemctl list-unit-files --no-legend --no-pager | sort
systemctl list-units --all --type=service --no-legend --no-pager --plain | awk '{ print $1, $3 }' |
    grep -Ev '^(user|session|systemd-|apt-|dpkg-|e2scrub|fstrim|logrotate|ssh@|lab-)' | sort
getent passwd
getent group
if command -v dpkg-query >/dev/null; then
    # shellcheck disable=SC2016 # the variables are dpkg-query's
    dpkg-query --show --showformat='${Package} ${Version} ${db:Status-Status}\n' | grep -v ' config-files$'
else
    rpm --query --all | sort
fi
ss --no-header --listening --tcp --numeric | awk '{ print $4 }' | sort
