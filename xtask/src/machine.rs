//! What this machine needs and lacks: installed from Debian's packages, each with its reason.

use std::path::Path;
use std::process::Command;

use crate::step::{self, Failed};

/// A program, the package that brings it, and why it is needed.
pub struct Need {
    /// A file that is there once the package is installed.
    pub file: &'static str,
    /// Debian's package.
    pub package: &'static str,
    /// Why.
    pub why: &'static str,
}

/// The MQTT broker of the lab.
pub const MOSQUITTO: Need =
    Need { file: "/usr/sbin/mosquitto", package: "mosquitto", why: "the lab's real MQTT broker" };
/// A broker that takes half a minute to start.
pub const RABBITMQ: Need = Need {
    file: "/usr/sbin/rabbitmq-server",
    package: "rabbitmq-server",
    why: "one more broker of MQTT, for the whole comparison",
};
/// Its command line clients.
pub const MOSQUITTO_CLIENTS: Need = Need {
    file: "/usr/bin/mosquitto_pub",
    package: "mosquitto-clients",
    why: "clients that nobody here wrote, for the tests of the lab",
};
/// The TLS library of the devices' simulator, with its headers.
pub const MBEDTLS: Need = Need {
    file: "/usr/include/mbedtls/x509_crt.h",
    package: "libmbedtls-dev",
    why: "the TLS stack that STM32Cube ships, for the devices of the lab",
};
/// A C compiler.
pub const CC: Need = Need { file: "/usr/bin/cc", package: "gcc", why: "the devices of the lab are programs in C" };
/// The C library's headers.
pub const LIBC: Need =
    Need { file: "/usr/include/stdio.h", package: "libc6-dev", why: "what every program in C includes" };
/// openssl(1).
pub const OPENSSL: Need =
    Need { file: "/usr/bin/openssl", package: "openssl", why: "a TLS peer that nobody here wrote" };
/// sslscan(1).
pub const SSLSCAN: Need =
    Need { file: "/usr/bin/sslscan", package: "sslscan", why: "a TLS scanner that the probe has to agree with" };
/// testssl.sh, for the whole comparison.
pub const TESTSSL: Need =
    Need { file: "/usr/bin/testssl", package: "testssl.sh", why: "another one, for the whole comparison" };
/// tinyproxy(8), without the service that its main package starts.
pub const TINYPROXY: Need = Need {
    file: "/usr/bin/tinyproxy",
    package: "tinyproxy-bin",
    why: "a proxy that nobody here wrote, on the way to the sink",
};
/// microsocks(1).
pub const MICROSOCKS: Need = Need {
    file: "/usr/bin/microsocks",
    package: "microsocks",
    why: "the same by SOCKS, that nobody here wrote either",
};
/// nginx(8), with what its light package brings.
pub const NGINX: Need = Need {
    file: "/usr/sbin/nginx",
    package: "nginx-light",
    why: "an ingest edge that nobody here wrote, weakened in one place after another",
};
/// haproxy(1).
pub const HAPROXY: Need = Need {
    file: "/usr/sbin/haproxy",
    package: "haproxy",
    why: "another ingest edge that nobody here wrote, and a careless TLS proxy in front of the broker",
};
/// ip(8).
pub const IPROUTE2: Need = Need {
    file: "/usr/bin/ip",
    package: "iproute2",
    why: "network namespaces: a gateway's links, routes and outages, without touching those of this machine",
};
/// nft(8).
pub const NFTABLES: Need = Need {
    file: "/usr/sbin/nft",
    package: "nftables",
    why: "losses, partitions and portals on the way of such a gateway",
};
/// dnsmasq(8), without the service that its main package starts.
pub const DNSMASQ: Need = Need {
    file: "/usr/sbin/dnsmasq",
    package: "dnsmasq-base",
    why: "name servers that nobody here wrote, one of which lies",
};
/// nats-server(8).
pub const NATS: Need = Need {
    file: "/usr/sbin/nats-server",
    package: "nats-server",
    why: "an MQTT broker in the cloud that nobody here wrote",
};
/// sshd(8) and ssh-keygen(1).
pub const SSHD: Need = Need {
    file: "/usr/sbin/sshd",
    package: "openssh-server",
    why: "what an SSH server itself makes of its configuration, which the probe has to agree with",
};
/// systemd-nspawn(1).
pub const NSPAWN: Need = Need {
    file: "/usr/bin/systemd-nspawn",
    package: "systemd-container",
    why: "a whole system with its own systemd, weakened in one place after another",
};
/// mmdebstrap(1).
pub const MMDEBSTRAP: Need =
    Need { file: "/usr/bin/mmdebstrap", package: "mmdebstrap", why: "makes the Debian that is booted there" };
/// patchelf(1).
pub const PATCHELF: Need = Need {
    file: "/usr/bin/patchelf",
    package: "patchelf",
    why: "lets the broker of another Debian run with its own libraries",
};
/// dockerd(8).
pub const DOCKER: Need =
    Need { file: "/usr/sbin/dockerd", package: "docker.io", why: "what Docker itself leaves of its containers" };
/// busybox(1), of one file.
pub const BUSYBOX: Need =
    Need { file: "/bin/busybox", package: "busybox-static", why: "what runs in such a container" };
/// lynis(8).
pub const LYNIS: Need =
    Need { file: "/usr/sbin/lynis", package: "lynis", why: "an audit of hosts that ours has to agree with" };
/// ssh-audit(1).
pub const SSH_AUDIT: Need = Need { file: "/usr/bin/ssh-audit", package: "ssh-audit", why: "the same of SSH servers" };
/// A C++ compiler.
pub const CXX: Need =
    Need { file: "/usr/bin/g++", package: "g++", why: "libFuzzer, which the fuzz targets run in, is C++" };
/// A wall clock that tests turn.
pub const FAKETIME: Need =
    Need { file: FAKETIME_LIBRARY, package: "libfaketime", why: "outages of days, in the time of a test" };
/// Where Debian has it on this architecture.
#[cfg(target_arch = "aarch64")]
const FAKETIME_LIBRARY: &str = "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1";
/// Where Debian has it on this architecture.
#[cfg(not(target_arch = "aarch64"))]
const FAKETIME_LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
/// Python with venv.
pub const PYTHON: Need =
    Need { file: "/usr/bin/python3", package: "python3", why: "the second verifier, on securesystemslib" };

/// Installs what is missing.
pub fn provide(needs: &[&Need]) -> Result<(), Failed> {
    let missing: Vec<_> = needs.iter().filter(|need| !Path::new(need.file).exists()).collect();
    for need in &missing {
        println!("==> {} is missing: {}", need.package, need.why);
    }
    install(&missing.iter().map(|need| need.package).collect::<Vec<_>>())
}

/// Makes sure that `python3 -m venv` works.
pub fn provide_venv() -> Result<(), Failed> {
    provide(&[&PYTHON])?;
    let works =
        |module| Command::new("python3").args(["-c", module]).output().is_ok_and(|output| output.status.success());
    if works("import venv, ensurepip") {
        return Ok(());
    }
    println!("==> python3-venv is missing: an environment of its own for the second verifier");
    install(&["python3-venv"])
}

fn install(packages: &[&str]) -> Result<(), Failed> {
    if packages.is_empty() {
        return Ok(());
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        let list = packages.join(", ");
        return Err(Failed::CouldNot(format!("this is not a Debian-like system; install by hand: {list}")));
    }
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0\n"));
    let prefix: &[&str] = if root { &[] } else { &["sudo"] };
    let apt = |arguments: &[&str]| {
        let words: Vec<&str> = prefix
            .iter()
            .chain(&["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"])
            .chain(arguments)
            .copied()
            .collect();
        step::program(words[0], &words[1..])
    };
    // The list of packages may be old or empty on a fresh machine.
    step::run("apt-get update", apt(&["update"])).map_err(could_not)?;
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    step::run(&format!("apt-get install {}", packages.join(" ")), apt(&arguments)).map_err(could_not)
}

fn could_not(failed: Failed) -> Failed {
    match failed {
        Failed::DidNotHold(what) | Failed::CouldNot(what) => Failed::CouldNot(what),
    }
}
