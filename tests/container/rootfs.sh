#!/bin/sh
# Makes a Debian with what a gateway has, in the folder that is named: a system to be booted by systemd-nspawn(1). The second
# word is its release; the hardened state in harden.sh is one of Debian 12 (bookworm).
#
# Packages come from where this machine's own do, with its settings of apt (a proxy, say), if it has that release, too.
set -eu
target=$1
suite=$2
settings=$(mktemp)
trap 'rm -f "$settings"' EXIT
apt-config dump --format '%f "%v";%n' Acquire | grep -v -e '^Acquire "";' -e GzipIndexes > "$settings"
# Package lists stay compressed, as on small systems: the agent has to read them.
echo 'Acquire::GzipIndexes "true";' >> "$settings"
sources=$(grep -ls "$suite" /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources || true)
# What each is for: an SSH server, a packet filter and the two programs that set it, sudo, updates, time, logs and audit, the broker; and lynis, for the
# comparison. Of the package lists only the security archive's stay: the others are large, and nobody reads them.
# shellcheck disable=SC2086
mmdebstrap --quiet --variant=minbase --aptopt="$settings" --skip=cleanup/apt/lists \
    --include=systemd,systemd-sysv,dbus,iproute2,procps,kmod,openssl \
    --include=openssh-server,nftables,iptables,sudo,unattended-upgrades,systemd-timesyncd,rsyslog,auditd,mosquitto,lynis \
    --customize-hook='find "$1/var/lib/apt/lists" -type f ! -name "*security*" -delete' \
    "$suite" "$target" $sources
