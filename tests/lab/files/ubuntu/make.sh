#!/bin/sh
# Give the Debian root file system ROOT the name of an Ubuntu release, and its way to start sshd.
#
#   make.sh ROOT VERSION CODENAME NAME
set -eu
root=$1 version=$2 codename=$3 name=$4
# Not the word "Debian" anywhere: Ansible would report that distribution.
cat >"$root/usr/lib/os-release" <<END
PRETTY_NAME="Ubuntu $version LTS"
NAME="Ubuntu"
VERSION_ID="$version"
VERSION="$version LTS ($name)"
VERSION_CODENAME=$codename
ID=ubuntu
ID_LIKE=debian
UBUNTU_CODENAME=$codename
VARIANT="lab image"
VARIANT_ID=lab
END
cat >"$root/etc/lsb-release" <<END
DISTRIB_ID=Ubuntu
DISTRIB_RELEASE=$version
DISTRIB_CODENAME=$codename
DISTRIB_DESCRIPTION="Ubuntu $version LTS"
END
ln -sf ../usr/lib/os-release "$root/etc/os-release"
if [ "$version" = 24.04 ]; then
    chroot "$root" systemctl disable ssh.service
    chroot "$root" systemctl enable ssh.socket
fi
