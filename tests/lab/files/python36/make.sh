#!/bin/sh
# Give the Debian root file system ROOT the Python 3.6 of this machine as its only one: a python3.6 of the PATH or pyenv's.
#
#   make.sh ROOT
set -eu
root=$1
prefix=$(PYENV_VERSION=3.6 python3.6 -c 'import sys; print(sys.base_prefix)')
mkdir -p "$root/usr/local/bin" "$root/usr/local/lib"
cp "$prefix/bin/python3.6" "$root/usr/local/bin/"
find "$prefix/lib" -maxdepth 1 -name 'libpython3.6*.so*' -exec cp -P {} "$root/usr/local/lib/" \;
cp -R "$prefix/lib/python3.6" "$root/usr/local/lib/"
(cd "$root/usr/local/lib/python3.6" && rm -rf config-* ensurepip idlelib lib2to3 site-packages test tkinter)
ln -s ../local/bin/python3.6 "$root/usr/bin/python3"
chroot "$root" ldconfig
chroot "$root" python3 -c 'import sys, ssl, zlib; assert sys.version_info[:2] == (3, 6)'
