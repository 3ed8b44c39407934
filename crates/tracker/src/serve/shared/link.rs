//! One connection to one server. Nothing is waited for longer than a time limit.

use super::address::{Node, SharedAddress};
use super::resp::{self, Commands, Reply};
use std::io::{self, BufReader, Read, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

/// A stream that is read until a moment and no longer.
#[derive(Debug)]
struct Timed {
    stream: TcpStream,
    until: Instant,
}

impl Read for Timed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buf)
    }
}

/// A connection. After an error it is in an unknown state, and to be dropped.
#[derive(Debug)]
pub(super) struct Link {
    input: BufReader<Timed>,
}

impl Link {
    /// Connects.
    pub(super) fn open((host, port): &Node, limit: Duration) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for addr in (host.as_str(), *port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&addr, limit) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_write_timeout(Some(limit))?;
                    let until = Instant::now();
                    let input = BufReader::with_capacity(64 << 10, Timed { stream, until });
                    return Ok(Self { input });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Shows who we are.
    pub(super) fn log_in(&mut self, address: &SharedAddress, limit: Duration) -> io::Result<()> {
        let mut commands = Commands::default();
        if !address.password.is_empty() {
            let named = !address.user.is_empty();
            commands.begin(if named { 3 } else { 2 });
            commands.word(b"AUTH");
            if named {
                commands.word(address.user.as_bytes());
            }
            commands.word(address.password.as_bytes());
        }
        if address.database > 0 {
            commands.begin(2);
            commands.word(b"SELECT");
            commands.number(address.database.into());
        }
        // So that it can be told from others in CLIENT LIST.
        commands.begin(3);
        for word in ["CLIENT", "SETNAME", "samara-tracker"] {
            commands.word(word.as_bytes());
        }
        let replies = self.call(&commands, limit)?;
        let error = replies.into_iter().find_map(|reply| match reply {
            Reply::Error(error) => Some(error),
            _ => None,
        });
        error.map_or(Ok(()), |error| Err(io::Error::other(error)))
    }

    /// Sends commands, and waits for as many answers.
    pub(super) fn call(&mut self, commands: &Commands, limit: Duration) -> io::Result<Vec<Reply>> {
        self.send(commands)?;
        let until = Instant::now() + limit;
        (0..commands.count).map(|_| self.read(until)).collect()
    }

    /// Sends one command and waits for its answer; an error of the server is one.
    pub(super) fn ask(&mut self, words: &[&[u8]], limit: Duration) -> io::Result<Reply> {
        let mut replies = self.call(&Commands::one(words), limit)?;
        match replies.pop() {
            Some(Reply::Error(error)) => Err(io::Error::other(error)),
            Some(reply) => Ok(reply),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Sends commands.
    pub(super) fn send(&mut self, commands: &Commands) -> io::Result<()> {
        self.input.get_mut().stream.write_all(&commands.bytes)
    }

    /// The next value.
    pub(super) fn read(&mut self, until: Instant) -> io::Result<Reply> {
        self.input.get_mut().until = until;
        resp::read(&mut self.input)
    }

    /// The same connection, for whoever wants to end it from elsewhere.
    pub(super) fn stream(&self) -> io::Result<TcpStream> {
        self.input.get_ref().stream.try_clone()
    }
}
