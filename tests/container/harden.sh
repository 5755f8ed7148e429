#!/bin/sh
# Hardens the Debian 12 of rootfs.sh as a gateway should be; run inside it (chroot). With this, host_guardrails finds nothing:
# tests/tests/weak_host.rs holds it to that, and takes one thing after another back.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

put() { # put FILE MODE < text
    mkdir -p "$(dirname "$1")"
    cat > "$1"
    chmod "$2" "$1"
}

# --- accounts: nobody but one administrator, by key; sudo asks for a password that nobody knows
passwd --quiet --lock root
groupadd --system ssh-users
useradd --create-home --shell /bin/bash --groups sudo,ssh-users keeper
usermod --password "$(head -c 24 /dev/urandom | base64 | openssl passwd -6 -stdin)" keeper
chmod 0700 /home/keeper
sed -i 's/^UMASK.*/UMASK 027/; s/^PASS_MAX_DAYS.*/PASS_MAX_DAYS 365/; s/^PASS_MIN_DAYS.*/PASS_MIN_DAYS 1/' /etc/login.defs
chage --maxdays 365 --mindays 1 keeper

# --- SSH: keys alone, for one group
put /etc/ssh/sshd_config.d/10-gateway.conf 0600 <<END
PermitRootLogin no
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowGroups ssh-users
MaxAuthTries 3
MaxSessions 4
LoginGraceTime 30
ClientAliveInterval 300
ClientAliveCountMax 2
AllowTcpForwarding no
AllowAgentForwarding no
X11Forwarding no
PermitTunnel no
LogLevel VERBOSE
TCPKeepAlive no
Compression no
HostKey /etc/ssh/ssh_host_ed25519_key
HostKeyAlgorithms ssh-ed25519
KexAlgorithms sntrup761x25519-sha512@openssh.com,curve25519-sha256,curve25519-sha256@libssh.org
Ciphers chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes128-gcm@openssh.com
MACs hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com
END
ssh-keygen -A > /dev/null

# --- packet filter: SSH and MQTT over TLS from outside, nothing is forwarded
put /etc/nftables.conf 0644 <<END
#!/usr/sbin/nft -f
flush ruleset
table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        iif "lo" accept
        ct state established,related accept
        ct state invalid drop
        icmp type { echo-request, destination-unreachable, time-exceeded } accept
        icmpv6 type { echo-request, packet-too-big, nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
        tcp dport { 22, 8883 } accept
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
    }
}
END
systemctl --quiet enable nftables.service

# --- kernel: what can be set per network; the rest is bound over /proc by the test, since it is the whole machine's
# Forwarding comes first: to switch it sets many of the others as the kernel sees fit.
put /etc/sysctl.d/90-gateway.conf 0644 <<END
net.ipv4.ip_forward = 0
net.ipv6.conf.all.forwarding = 0
net.ipv4.conf.all.accept_redirects = 0
net.ipv4.conf.default.accept_redirects = 0
net.ipv6.conf.all.accept_redirects = 0
net.ipv6.conf.default.accept_redirects = 0
net.ipv4.conf.all.accept_source_route = 0
net.ipv4.conf.default.accept_source_route = 0
net.ipv6.conf.all.accept_source_route = 0
net.ipv4.conf.all.rp_filter = 1
net.ipv4.conf.default.rp_filter = 1
net.ipv4.conf.all.send_redirects = 0
net.ipv4.conf.all.log_martians = 1
net.ipv4.tcp_syncookies = 1
net.ipv4.icmp_echo_ignore_broadcasts = 1
END
put /etc/modprobe.d/gateway.conf 0644 <<END
install usb-storage /bin/true
install uas /bin/true
END
put /etc/security/limits.d/core.conf 0644 <<END
* hard core 0
END

# --- updates by themselves
put /etc/apt/apt.conf.d/20auto-upgrades 0644 <<END
APT::Periodic::Update-Package-Lists "1";
APT::Periodic::Unattended-Upgrade "1";
END
mkdir -p /var/lib/apt/periodic
touch /var/lib/apt/periodic/update-success-stamp /var/lib/apt/periodic/unattended-upgrades-stamp

# --- logs stay, and a copy goes elsewhere; one time service
put /etc/systemd/journald.conf.d/gateway.conf 0644 <<END
[Journal]
Storage=persistent
SystemMaxUse=200M
END
mkdir -p /var/log/journal
put /etc/rsyslog.d/remote.conf 0644 <<END
action(type="omfwd" target="192.0.2.10" port="6514" protocol="tcp" queue.type="LinkedList" action.resumeRetryCount="-1")
END
systemctl --quiet enable auditd.service rsyslog.service
# The kernel audits for the machine alone, so in a container the daemon is only switched on, and does not start.
put /etc/systemd/system/auditd.service.d/container.conf 0644 <<END
[Unit]
ConditionVirtualization=!container
END
# A container has no clock of its own: the service runs, and may not turn the machine's.
put /etc/systemd/system/systemd-timesyncd.service.d/container.conf 0644 <<END
[Unit]
ConditionVirtualization=
ConditionCapability=
[Service]
AmbientCapabilities=
CapabilityBoundingSet=
END
systemctl --quiet enable systemd-timesyncd.service

# --- the broker: TLS alone, beyond loopback, fenced in
mkdir -p /etc/mosquitto/certs
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN=gateway \
    -keyout /etc/mosquitto/certs/broker.key -out /etc/mosquitto/certs/broker.pem 2> /dev/null
chown root:mosquitto /etc/mosquitto/certs/broker.key
chmod 0640 /etc/mosquitto/certs/broker.key
put /etc/mosquitto/conf.d/gateway.conf 0644 <<END
allow_anonymous false
listener 8883
certfile /etc/mosquitto/certs/broker.pem
keyfile /etc/mosquitto/certs/broker.key
cafile /etc/mosquitto/certs/broker.pem
require_certificate true
use_identity_as_username true
END
put /etc/systemd/system/mosquitto.service.d/fences.conf 0644 <<END
[Service]
User=mosquitto
Group=mosquitto
ExecStartPre=
RuntimeDirectory=mosquitto
LogsDirectory=mosquitto
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths=/var/lib/mosquitto
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
END
systemctl --quiet enable mosquitto.service

# --- a kernel, by name: which one is installed is a folder; the running one is bound over /proc by the test
mkdir -p /lib/modules/6.1.0-30-amd64

echo gateway > /etc/hostname
