#!/bin/sh
# Starts Docker's own daemon in a mount namespace of its own (unshare(1)), a container in it, and lets the agent look. In order:
# the agent's program and configuration, the daemon's further arguments, the container's, a command for the end.
set -eu
agent=$1
configuration=$2
mount --make-rprivate /
# Docker makes it when it is started the first time.
mkdir -p /var/lib/docker
for folder in /run /srv /etc/docker /var/lib/docker; do
    test -d "$folder" || { echo "$folder is not there: install docker.io" >&2; exit 70; }
    mount -t tmpfs tmpfs "$folder"
done
ip link set lo up
log=$(mktemp -p /srv)
echo '{"data-root": "/srv/elsewhere"}' > /srv/daemon.json
# The network that it would make takes rules of iptables, which are not what is looked at.
# shellcheck disable=SC2086
dockerd --bridge=none --iptables=false --ip6tables=false --storage-driver=vfs -H unix:///run/docker.sock $3 > "$log" 2>&1 &
until docker version > /dev/null 2>&1; do
    kill -0 $! || { cat "$log" >&2; exit 70; }
done
mkdir -p /srv/image/bin
cp /bin/busybox /srv/image/bin/sh
tar -c -C /srv/image . | docker import - thing > /dev/null
# shellcheck disable=SC2086
docker run --detach --env PASSWORD=hunter2 $4 thing /bin/sh -c 'while :; do sleep 1000; done' > /dev/null
eval "$5"
status=0
"$agent" audit --config "$configuration" --bundle host-hardening --format json || status=$?
"$agent" show --config "$configuration" --envelope > /srv/envelope
grep payload /srv/envelope | cut -d '"' -f 4 | base64 --decode > /srv/payload
grep -q '"image":"thing"' /srv/payload || { echo "the container is not in the evidence" >&2; exit 70; }
if grep -q hunter2 /srv/payload; then
    echo "the password of a container is in the evidence" >&2
    exit 70
fi
exit $status
