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
cp "$root"/var/cache/apt/archives/*.deb "$repository/"
cd "$repository"
for deb in ./*.deb; do
    package=$(dpkg-deb --field "$deb" Package)
    # Its status, because dpkg also knows packages that others only suggest.
    if chroot "$root" dpkg-query --status "$package" 2>/dev/null | grep -q '^Status: .* installed$'; then
        rm -- "$deb"
        continue
    fi
    dpkg-deb --field "$deb"
    printf 'Filename: %s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d' ' -f1)"
done >Packages
