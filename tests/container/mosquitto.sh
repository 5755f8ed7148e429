#!/bin/sh
# Unpacks the Mosquitto of a Debian release, with the libraries that it was built for, into the folder that is named. Its program
# runs on this machine as it stands; nothing is installed.
set -eu
target=$1
suite=$2
# Debian's testing is renewed by the day, so what lies on a mirror may be past its date; the signature counts all the same.
mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' \
    --include=mosquitto,mosquitto-clients "$suite" "$target"
ldconfig -r "$target"
# The folder gets its name when it is whole.
final=${target%.unfinished}
for loader in "$target"/usr/lib/*-linux-gnu*/ld-linux-*.so.*; do
    libraries=$(dirname "$loader")
    for program in "$target/usr/sbin/mosquitto" "$target/usr/bin/mosquitto_passwd"; do
        patchelf --set-interpreter "$final${loader#"$target"}" "$program"
        patchelf --force-rpath --set-rpath "$final${libraries#"$target"}" "$program"
    done
done
rm -rf "$target/usr/share" "$target/var"
