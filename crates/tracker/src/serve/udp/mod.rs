//! The tracker over UDP (BEP 15, with BEP 41's options), over the same swarms as HTTP.
//!
//! One thread a core, each with a socket of its own on the same port, among which the kernel divides
//! the clients (SO_REUSEPORT). A thread waits for packets, takes all that have come, answers them one
//! after the other into its own buffers, and sends all answers at once. It allocates nothing and
//! remembers nothing between packets.
//!
//! # What is answered
//!
//! A connect request of at least 16 bytes gets 16. Nothing else is said to anybody who cannot show an
//! id that was sent to that address in the last minutes: an address that is forged gets no byte that
//! was not paid for. What cannot be read is dropped and counted. No answer is longer than
//! [`MAX_UDP_REPLY`].
//!
//! Requests with a valid id count for the limits of their address and network
//! ([`crate::guard`]), and are dropped beyond them: an answer in words would cost as much as the one
//! that is refused, and clients pause longer and longer without one. Connect requests do not count:
//! whoever forges addresses could use up the share of others.

mod id;
pub(crate) mod packet;
#[cfg(any(test, not(target_os = "linux")))]
mod portable;
mod siphash;
pub(crate) mod train;
mod worker;

#[cfg(test)]
mod tests;

#[cfg(target_os = "linux")]
use crate::sys::packets as sys;
#[cfg(not(target_os = "linux"))]
use portable as sys;

use super::config::{ServeConfig, ServeError};
use super::handle::{Handle, random};
use id::Ids;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use worker::Worker;

/// How long a thread waits for packets before it looks whether it should end.
const PATIENCE: Duration = Duration::from_millis(200);

/// Bytes that the kernel may hold for a socket, each way: 100 ms of 400,000 packets a second. It
/// gives what the system's limit (net.core.rmem_max) allows.
const SOCKET_BUFFER: usize = 8 * 1024 * 1024;

/// Packets that came and what became of them, counted since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct UdpStats {
    /// All that came.
    pub received: u64,
    /// Connect requests, all answered.
    pub connects: u64,
    /// Announces with a valid id.
    pub announces: u64,
    /// Scrapes with a valid id.
    pub scrapes: u64,
    /// Of these, those that were answered with an error.
    pub errors: u64,
    /// Dropped: no request, cut short, or too long.
    pub malformed: u64,
    /// Dropped: an id that is old, or was not given to that address.
    pub bad_ids: u64,
    /// Answers that the system would not send.
    pub unsent: u64,
    /// Dropped: their address or network had asked too often.
    pub limited: u64,
}

impl UdpStats {
    const FIELDS: usize = 9;

    fn fields(&self) -> [u64; Self::FIELDS] {
        [
            self.received,
            self.connects,
            self.announces,
            self.scrapes,
            self.errors,
            self.malformed,
            self.bad_ids,
            self.unsent,
            self.limited,
        ]
    }

    fn from_fields(fields: [u64; Self::FIELDS]) -> Self {
        let [
            received,
            connects,
            announces,
            scrapes,
            errors,
            malformed,
            bad_ids,
            unsent,
            limited,
        ] = fields;
        Self {
            received,
            connects,
            announces,
            scrapes,
            errors,
            malformed,
            bad_ids,
            unsent,
            limited,
        }
    }
}

/// The counts of one thread, where others can read them. It alone writes them, once a batch.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Board([AtomicU64; UdpStats::FIELDS]);

impl Board {
    fn show(&self, stats: &UdpStats) {
        for (place, value) in self.0.iter().zip(stats.fields()) {
            place.store(value, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> UdpStats {
        let counts = self.0.each_ref();
        UdpStats::from_fields(counts.map(|count| count.load(Ordering::Relaxed)))
    }
}

impl std::ops::Add for UdpStats {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let mut sums = self.fields();
        for (sum, other) in sums.iter_mut().zip(other.fields()) {
            *sum += other;
        }
        Self::from_fields(sums)
    }
}

/// Sockets that have their port, and no threads yet.
#[derive(Debug)]
pub(super) struct Bound {
    sockets: Vec<(UdpSocket, Arc<Board>)>,
    pub(super) local_addrs: Vec<SocketAddr>,
    ids: Ids,
}

impl Bound {
    /// Takes the ports.
    pub(super) fn new(config: &ServeConfig, handle: &Handle) -> Result<Self, ServeError> {
        let mut sockets = Vec::new();
        let mut local_addrs = Vec::new();
        let workers = config.workers.clamp(1, MAX_WORKERS);
        for &listen in &config.udp {
            let opened = open(listen, workers)
                .or_else(|error| without_ipv6(listen, workers, error))
                .map_err(|source| ServeError::Listen(listen, source))?;
            local_addrs.extend(opened.first().and_then(|socket| socket.local_addr().ok()));
            sockets.extend(
                opened
                    .into_iter()
                    .map(|socket| (socket, handle.new_board())),
            );
        }
        let secret = config.udp_secret.unwrap_or_else(|| {
            let word = || random().to_ne_bytes();
            let mut secret = [0; 16];
            secret[..8].copy_from_slice(&word());
            secret[8..].copy_from_slice(&word());
            secret
        });
        Ok(Self {
            sockets,
            local_addrs,
            ids: Ids::new(secret, config.udp_id_life.as_secs()),
        })
    }

    /// Begins to answer.
    pub(super) fn start(self, handle: &Handle) -> io::Result<Running> {
        let mut running = Running {
            stop: Arc::default(),
            threads: Vec::new(),
        };
        for (number, (socket, board)) in self.sockets.into_iter().enumerate() {
            let worker = Worker::new(socket, handle.clone(), self.ids, board);
            let stop = Arc::clone(&running.stop);
            let thread = std::thread::Builder::new()
                .name(format!("udp-{number}"))
                .spawn(move || worker.run(&stop))?;
            running.threads.push(thread);
        }
        Ok(running)
    }
}

/// Threads that answer; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Running {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// Whether a thread has ended without being told to.
    pub(super) fn has_failed(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the UDP tracker failed");
            }
        }
    }
}

/// Most threads an address.
const MAX_WORKERS: usize = 256;

/// As many sockets on one address as there are threads.
fn open(listen: SocketAddr, workers: usize) -> io::Result<Vec<UdpSocket>> {
    // Sockets that share a port would also share it with another program of the same user, which
    // would then get half of the clients. The first one alone finds out.
    let first = open_one(listen, false)?;
    if workers == 1 {
        return Ok(vec![first]);
    }
    let listen = first.local_addr()?;
    drop(first);
    (0..workers).map(|_| open_one(listen, true)).collect()
}

fn open_one(listen: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(listen),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if listen.is_ipv6() {
        socket.set_only_v6(!listen.ip().is_unspecified())?;
    }
    #[cfg(unix)]
    socket.set_reuse_port(shared)?;
    #[cfg(not(unix))]
    let _ = shared;
    // What the system allows is what there is.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.bind(&listen.into())?;
    let socket = UdpSocket::from(socket);
    if listen.ip().is_unspecified() {
        sys::ask_for_destination(&socket, listen.is_ipv6())?;
    }
    Ok(socket)
}

/// `[::]` means "everywhere"; where a machine has no IPv6, that is 0.0.0.0.
fn without_ipv6(
    listen: SocketAddr,
    workers: usize,
    error: io::Error,
) -> io::Result<Vec<UdpSocket>> {
    let not_taken = error.kind() != io::ErrorKind::AddrInUse;
    if listen.is_ipv6() && listen.ip().is_unspecified() && not_taken {
        let everywhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), listen.port());
        return open(everywhere, workers).map_err(|_| error);
    }
    Err(error)
}
