#!/bin/sh
# Build an archive in the vendor's documented layout with a C compiler, tar and gzip, and print its path.
#
# usage: build.sh [-f FORMAT] [-l LAYOUT] [-s STYLE] [-L LAUNCHER] [-u USER] VERSION FOLDER
#   -f gnu | pax | ustar             tar flavour (gnu)
#   -l folder | dot | bare | files   members as dls-linux/..., ./dls-linux/..., ./... without a top folder, or
#                                    dls-linux/... without members for folders (folder)
#   -s written | both | variable     startup.sh holds --server.port=48080, --data.port too, or a shell variable (written)
#   -L foreground | daemon           the launcher stays, or puts itself in the background (foreground)
#   -u USER                          what the launcher becomes when root starts it; created if missing (dynamsoftdls)
set -eu
umask 022

format=gnu layout=folder style=written launcher=foreground user=dynamsoftdls
while getopts f:l:s:L:u: option; do
    case $option in
        f) format=$OPTARG ;;
        l) layout=$OPTARG ;;
        s) style=$OPTARG ;;
        L) launcher=$OPTARG ;;
        u) user=$OPTARG ;;
        *) exit 64 ;;
    esac
done
shift $((OPTIND - 1))
version=${1:?VERSION is missing} folder=${2:?FOLDER is missing}
source=$(cd "$(dirname "$0")" && pwd)
case $version in
    2.[0-3].*) data_port=50201 ;;
    *) data_port=30201 ;;
esac

stage=$(mktemp -d)
trap 'chmod -R u+w "$stage"; rm -rf "$stage"' EXIT
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
top=$stage/dls-linux
mkdir -p "$top/linux/bin" "$top/linux/jre/bin" "$top/linux/jre/lib/server" "$top/linux/jre/lib/client" \
    "$top/linux/jre/legal/java.base" "$top/linux/jre/legal/java.desktop" "$top/logs" "$top/temp/upload" "$top/docs"

compile() { gcc -O1 -Wall -Wextra -Werror -s "$@"; }
if [ "$launcher" = daemon ]; then set -- -DSELF_DAEMON; else set --; fi
compile "$@" -DVENDOR_USER="\"$user\"" -o "$top/linux/bin/dynamsoftdlsx" "$source/launcher.c"
compile -DDATA_PORT="$data_port" -o "$top/linux/jre/bin/dynamsoftdls" "$source/java.c"
echo 'int libdls_test_double;' | compile -x c -shared -fPIC -o "$top/linux/jre/lib/server/libjvm.so" -

# The "jar" is the page that the server answers with.
cat > "$top/dls-$version.jar" <<HTML
<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>Test double $version</title></head>
<body><h1>Test double, not a licence server</h1>
<p>Version $version. UUID: 00000000-0000-0000-0000-00000000C0DE</p></body></html>
HTML

cat > "$top/dls.json.sample" <<'JSON'
{
    "serverMode": "main_standby",
    "servers": ["self", "https://standby.example/dls/"],
    "bDynamHost": false
}
JSON

case $style in
    written) ports="--server.port=48080" ;;
    both) ports="--server.port=48080 --data.port=$data_port" ;;
    variable) ports="--server.port=\$SERVER_PORT" ;;
    *) echo "build.sh: -s: must be written, both or variable, got $style" >&2; exit 64 ;;
esac
{
    cat <<'SH'
#!/bin/bash
# Test double of a start script. Uses ifconfig and netstat (package net-tools) where they are there.
BASE_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$BASE_DIR" || exit 1
SH
    printf 'APP_VERSION=%s\nSERVER_PORT=%s\n' "$version" 48080
    cat <<'SH'
LAUNCHER=./linux/bin/dynamsoftdlsx
JAVA=./linux/jre/bin/dynamsoftdls
JAVA_OPTS=(--add-opens "java.base/jdk.internal.loader=ALL-UNNAMED")

mkdir -p logs
if command -v ifconfig >/dev/null 2>&1; then
    ifconfig -a | grep -o 'ether [0-9a-f:]*' > logs/interfaces.txt
else
    echo "ifconfig: command not found, going on without the list of interfaces"
fi
command -v netstat >/dev/null 2>&1 && netstat -lnt > logs/ports.txt 2>/dev/null

echo "Starting DLS $APP_VERSION, see port $SERVER_PORT in logs"
SH
    # shellcheck disable=SC2016 # the lines of the start script
    printf 'nohup "$LAUNCHER" "$JAVA" "${JAVA_OPTS[@]}" -jar "./dls-$APP_VERSION.jar" %s' "$ports"
    printf ' >> logs/console.log 2>&1 < /dev/null &\nexit 0\n'
} > "$top/startup.sh"

# What such archives hold besides: the kit has never heard of any of it.
ln "$top/linux/jre/lib/server/libjvm.so" "$top/linux/jre/lib/client/libjvm.so"
ln -s server/libjvm.so "$top/linux/jre/lib/libjvm.so"
echo "licence text of a test double" > "$top/linux/jre/legal/java.base/LICENSE"
ln -s ../java.base/LICENSE "$top/linux/jre/legal/java.desktop/LICENSE"
echo "read me" > "$top/docs/Read me first (important).txt"
echo "说明" > "$top/docs/许可证服务器 Übersicht.txt"
long=a-file-name-that-is-longer-than-one-hundred-characters-because-generated-documentation-has-such-names
[ "$format" = ustar ] || echo "long" > "$top/docs/$long.html"
: > "$top/docs/empty"

# Modes as an umask of 002 and a copy from a share leave them; the documentation has the operator run chmod.
chmod -R u=rwX,g=rwX,o=rX "$top"
chmod 0664 "$top/startup.sh"
chmod 0444 "$top"/linux/jre/legal/*/LICENSE "$top/docs/empty"
chmod 0555 "$top/linux/jre/legal/java.base"
[ "$layout" != files ] || chmod -R u=rwX,g=rX,o= "$top"
find "$top" -depth -exec touch -h -d '2025-11-30 08:15:42.123456789 UTC' {} +

name=dynamsoft_dls-linux_x64-v$version.tar
set -- --create --file "$folder/$name"
case $format in
    # A build user out of a directory service: the numbers need more than the seven octal digits of the header.
    gnu) set -- "$@" --format=gnu --owner='ACME\builder:1824601107' --group='domain users:1824600513' ;;
    pax) set -- "$@" --format=posix --owner=jenkins:998 --group=jenkins:996 --pax-option=comment=nightly ;;
    ustar) set -- "$@" --format=ustar --owner=jenkins:998 --group=jenkins:996 ;;
    *) echo "build.sh: -f: must be gnu, pax or ustar, got $format" >&2; exit 64 ;;
esac
case $layout in
    folder) tar "$@" -C "$stage" dls-linux ;;
    dot) tar "$@" -C "$stage" ./dls-linux ;;
    bare) tar "$@" -C "$top" . ;;
    files) (cd "$stage" && find dls-linux ! -type d -print0 | tar "$@" --null --files-from=-) ;;
    *) echo "build.sh: -l: must be folder, dot, bare or files, got $layout" >&2; exit 64 ;;
esac
gzip -9 --name --force "$folder/$name"
echo "$folder/$name.gz"
