#!/bin/sh
# Make the Debian root file system ROOT look like Rocky Linux 9 to a role: names, paths, rpm, dnf and a repository.
#
#   make.sh ROOT
#
# The packages of /srv/lab-packages become signed RPMs in the same folder. apt and dpkg are put away.
set -eu
root=$1
here=$(dirname "$0")
away=/usr/libexec/lab-debian

cp "$here/os-release" "$root/usr/lib/os-release"
ln -sf ../usr/lib/os-release "$root/etc/os-release"
echo 'Rocky Linux release 9.5 (Blue Onyx)' | tee "$root/etc/redhat-release" >"$root/etc/rocky-release"
mkdir -p "$root/etc/dnf/vars" "$root/etc/yum.repos.d" "$root/etc/sysconfig" "$root$away" \
    "$root/usr/lib/systemd/system-preset" "$root/etc/nftables"
printf '[main]\ngpgcheck=1\nbest=True\nclean_requirements_on_remove=True\n' >"$root/etc/dnf/dnf.conf"
cp "$here/lab.repo" "$root/etc/yum.repos.d/"
printf 'enable firewalld.service\nenable sshd.service\ndisable *\n' >"$root/usr/lib/systemd/system-preset/90-default.preset"

cp -r "$here" "$root/tmp/rocky9"
chroot "$root" python3 /tmp/rocky9/rpms.py /srv/lab-packages
rm -r "$root/tmp/rocky9"

# sshd's unit, and what sudo finds: /usr/local/sbin is not in it.
chroot "$root" systemctl disable ssh.service
mv "$root/lib/systemd/system/ssh.service" "$root/lib/systemd/system/sshd.service"
sed -i '/^Alias=/d' "$root/lib/systemd/system/sshd.service"
chroot "$root" systemctl enable sshd.service
echo 'Defaults secure_path = /sbin:/bin:/usr/sbin:/usr/bin' >"$root/etc/sudoers.d/00-secure-path"
chmod 0440 "$root/etc/sudoers.d/00-secure-path"

mv "$root"/usr/bin/apt* "$root"/usr/bin/dpkg* "$root$away/"
rm -rf "$root"/etc/debian_version "$root"/lib/systemd/system/apt-* "$root"/lib/systemd/system/dpkg-* \
    "$root"/etc/systemd/system/timers.target.wants/* "$root"/var/cache/dnf
ln -s dnf "$root/usr/bin/yum"
