//! Loopback ports that are kept for life: of PostgreSQL, of Services, of the stack itself.
use std::io;
use std::net::TcpListener;

/// Ports that systems hand out to outgoing connections begin above this range (Linux: 32768): one of these could take a port while
/// whoever keeps it is down.
const KEPT: std::ops::Range<u16> = 15_000..32_000;
/// How many ports are tried before any at all is good enough.
const TRIES_MAX: u32 = 50;

/// A free port, held as long as the listener.
pub(crate) fn free() -> io::Result<TcpListener> {
    for _ in 0..TRIES_MAX {
        let mut bytes = [0; 2];
        getrandom::fill(&mut bytes).map_err(|error| io::Error::other(format!("randomness: {error}")))?;
        let port = KEPT.start + u16::from_be_bytes(bytes) % (KEPT.end - KEPT.start);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return Ok(listener);
        }
    }
    TcpListener::bind(("127.0.0.1", 0))
}
