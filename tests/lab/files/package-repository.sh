#!/bin/sh
# Keep packages in the image ROOT, not installed, as a small local apt repository.
#
#   package-repository.sh ROOT PACKAGE...
#
# Lab hosts have no way out of their network. With this the package step of a role is still a real one:
# apt resolves, unpacks and configures; only the download comes from a folder.
set -eu
root=$1
shift
repository=$root/srv/lab-packages
mkdir -p "$repository"
chroot "$root" apt-get --yes --download-only --no-install-recommends install "$@"
# What apt would install, as the names of its downloads. Others may be there, from the cache of earlier builds.
chroot "$root" apt-get --simulate --no-install-recommends install "$@" |
    sed -n 's/^Inst \([^ ]*\) .*(\([^ ]*\) .*\[\(.*\)\]).*/\1_\2_\3.deb/p' | sed 's/:/%3a/' |
    while read -r deb; do cp "$root/var/cache/apt/archives/$deb" "$repository/"; done
cd "$repository"
for deb in ./*.deb; do
    dpkg-deb --field "$deb"
    printf 'Filename: %s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d' ' -f1)"
done >Packages
