//! How many connections one client may have, so that none of them takes every file descriptor and starves the others.
//!
//! Whoever is beyond the bound is hung up on at once, before TLS and before a byte is read; a gateway then comes again, as
//! it does after any lost connection. A client is an IPv4 address, or the 64 bits of an IPv6 one that a single host has to
//! itself. Nothing here bounds all clients together: that is the operating system's limit of open files.

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Connections of one client at the same time. A site behind one address has room for as many gateways at once.
pub const PER_CLIENT: usize = 128;

/// Who has how many connections.
#[derive(Debug, Clone, Default)]
pub struct Places(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection's place, given back when it is dropped.
#[derive(Debug)]
struct Place {
    places: Places,
    client: IpAddr,
}

impl Places {
    fn take(&self, address: IpAddr) -> Option<Place> {
        let client = client(address);
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(client).or_default();
        if *count >= PER_CLIENT {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Place { places: self.clone(), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.client);
            }
        }
    }
}

fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

impl<S> Accept<TcpStream, S> for Places {
    type Stream = Placed;
    type Service = S;
    type Future = Ready<io::Result<(Placed, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let placed = stream.peer_addr().and_then(|peer| {
            let place = self.take(peer.ip()).ok_or_else(|| io::Error::other("too many connections of one client"))?;
            // Answers are short: held back for more, they come 40 ms late.
            stream.set_nodelay(true)?;
            Ok(Placed { stream, _place: place })
        });
        ready(placed.map(|placed| (placed, service)))
    }
}

/// A connection that has its place.
#[derive(Debug)]
pub struct Placed {
    stream: TcpStream,
    _place: Place,
}

impl AsyncRead for Placed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Placed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(places: &Places, address: &str, count: usize) -> Vec<Option<Place>> {
        (0..count).map(|_| places.take(address.parse().unwrap())).collect()
    }

    #[test]
    fn one_client_has_its_places_and_gives_them_back() {
        let places = Places::default();
        let mut full = taken(&places, "192.0.2.1", PER_CLIENT);
        assert!(full.iter().all(Option::is_some));
        assert!(places.take("192.0.2.1".parse().unwrap()).is_none());
        assert!(places.take("::ffff:192.0.2.1".parse().unwrap()).is_none(), "the same client");
        assert!(places.take("192.0.2.2".parse().unwrap()).is_some(), "another client");
        full.pop();
        assert!(places.take("192.0.2.1".parse().unwrap()).is_some());
        drop(full);
        assert!(places.0.lock().unwrap().is_empty(), "nobody is remembered for ever");
    }

    #[test]
    fn the_addresses_of_one_ipv6_host_are_one_client() {
        let places = Places::default();
        let _full = taken(&places, "2001:db8::1", PER_CLIENT);
        assert!(places.take("2001:db8::ffff:2".parse().unwrap()).is_none());
        assert!(places.take("2001:db8:0:1::1".parse().unwrap()).is_some());
    }
}
