#!/bin/sh
# SPDX-License-Identifier: MIT
#
# fetch_llhttp.sh DIR: unpack Debian's node-llhttp package (C sources of the HTTP parser) into DIR, without installing
# it: an installation would bring Node and fourteen packages along.
set -eu
target=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# apt downloads as the user _apt when it can; the folder must let it in, or apt warns and falls back to root.
chmod 755 "$work"
if [ "$(id -u)" = 0 ] && id _apt >/dev/null 2>&1; then
    chown _apt "$work"
fi
download() {
    (cd "$work" && apt-get -qq download node-llhttp)
}
if ! download; then
    # The package lists may be missing or old; renewing them needs root.
    if [ "$(id -u)" = 0 ]; then apt-get -qq update; else sudo apt-get -qq update; fi
    download
fi
dpkg-deb -x "$work"/node-llhttp_*.deb "$work/tree"
# In one rename, so that an interrupted run leaves nothing that looks complete.
mkdir -p "$(dirname "$target")"
rm -rf "$target.part" "$target"
cp -R "$work/tree" "$target.part"
mv "$target.part" "$target"
