//! Ports on loopback that nobody else can take, whether somebody listens on them or not.
//!
//! A port is held by a socket that is bound and never listens. While that is all there is, a client is refused, as on
//! any closed port. A server that sets `SO_REUSEADDR` (Mosquitto, tokio and the standard library do) can listen on it at
//! any time, stop, and come back to the same number, and no other program is given it in between: neither as an ephemeral
//! port of its own nor as the source port of a connection. So there is no race to lose and nothing to try again.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, setsockopt, socket, sockopt::ReuseAddr,
};

/// A port on 127.0.0.1 that is ours for as long as this value lives.
#[derive(Debug)]
pub struct Port {
    address: SocketAddr,
    _held: OwnedFd,
}

impl Port {
    /// A port that nobody used until now, chosen by the kernel.
    ///
    /// # Errors
    /// When the kernel has none to give.
    pub fn reserve() -> Result<Self> {
        let held = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
            .context("no socket to hold a port with")?;
        setsockopt(&held, ReuseAddr, &true).context("SO_REUSEADDR could not be set")?;
        let any = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
        bind(held.as_raw_fd(), &any).context("no free port on 127.0.0.1")?;
        let bound: SockaddrIn = getsockname(held.as_raw_fd()).context("the port that was bound has no name")?;
        Ok(Self { address: SocketAddr::V4(bound.into()), _held: held })
    }

    /// 127.0.0.1 and the port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens on the port, in this process.
    ///
    /// # Errors
    /// When somebody of ours listens on it already.
    pub fn listen(&self) -> Result<TcpListener> {
        let listener = TcpListener::bind(self.address).with_context(|| format!("cannot listen on {}", self.address))?;
        listener.set_nonblocking(true).context("the listener cannot be made non-blocking")?;
        Ok(listener)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::ErrorKind;
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_port_is_refused_then_served_then_refused_and_stays_ours() {
        let port = Port::reserve().unwrap();
        let refused = || TcpStream::connect(port.address()).unwrap_err().kind() == ErrorKind::ConnectionRefused;
        for _ in 0..3 {
            assert!(refused());
            let listener = port.listen().unwrap();
            TcpStream::connect(port.address()).unwrap();
            assert!(port.listen().is_err(), "two listeners on one port");
            drop(listener);
        }
        assert!(refused());
    }

    #[test]
    fn no_port_is_given_twice() {
        let held: Vec<_> = (0..500).map(|_| Port::reserve().unwrap()).collect();
        let numbers: BTreeSet<_> = held.iter().map(|port| port.address().port()).collect();
        assert_eq!(numbers.len(), held.len());
        for _ in 0..500 {
            let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            assert!(!numbers.contains(&other.local_addr().unwrap().port()));
        }
    }
}
