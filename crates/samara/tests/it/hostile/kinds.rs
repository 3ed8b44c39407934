//! What hostile peers do, each over and over until it is told to stop. Bytes are made by hand: our own
//! encoder would not make them.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What all of them know.
pub struct Plan {
    pub info_hash: [u8; 20],
    pub pieces: u32,
    pub piece_size: u32,
    pub stop: AtomicBool,
    /// Connections that got as far as a handshake, and bytes that were sent on them.
    pub connections: AtomicU64,
    pub sent: AtomicU64,
    /// Makes sockets that are bound before they connect.
    pub sockets: tokio::runtime::Runtime,
}

pub const KINDS: [&str; 15] = [
    "asks without end, and reads",
    "asks without end, and never reads",
    "says have without end",
    "says what is no message",
    "says nothing at all",
    "says a byte of a handshake a second",
    "gives wrong blocks",
    "lies about metadata",
    "gives blocks that nobody asked for",
    "comes and goes",
    "announces messages of 4 GiB",
    "claims everything and gives nothing",
    "takes back what it claimed",
    "changes its mind without end",
    "says the longest messages that there are",
];

/// So much is said at once by who floods, and then nothing for a while: 1.3 MB/s each, so that the machine's
/// own speed is not what decides.
const BURST: usize = 64 << 10;
const PAUSE: Duration = Duration::from_millis(50);
/// Whoever waits for an answer looks this often whether it is to stop.
const LOOK: Duration = Duration::from_millis(500);

/// One hostile peer.
pub struct Hostile<'a> {
    pub plan: &'a Plan,
    pub target: SocketAddr,
    pub number: usize,
    random: u64,
}

fn message(id: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32 + 1).to_be_bytes().to_vec();
    out.push(id);
    out.extend_from_slice(payload);
    out
}

fn words(id: u8, words: &[u32]) -> Vec<u8> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    message(id, &bytes)
}

impl<'a> Hostile<'a> {
    pub fn new(plan: &'a Plan, target: SocketAddr, number: usize) -> Self {
        let random = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            plan,
            target,
            number,
            random,
        }
    }

    /// The whole life.
    pub fn live(mut self) {
        while !self.stopped() {
            // A connection that is closed on it is what it expects.
            let _ = self.once();
            let storm = self.kind() == 9;
            sleep(Duration::from_millis(if storm { 20 } else { 700 }));
        }
    }

    fn kind(&self) -> usize {
        self.number % KINDS.len()
    }

    fn stopped(&self) -> bool {
        self.plan.stop.load(Ordering::Relaxed)
    }

    fn next(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 16) as u32
    }

    fn connect(&self) -> io::Result<TcpStream> {
        // An address of its own in 127.0.0.0/8.
        let from = Ipv4Addr::from(0x7f01_0000 + self.number as u32);
        let stream = self.plan.sockets.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind((from, 0).into())?;
            socket.connect(self.target).await?.into_std()
        })?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(LOOK))?;
        stream.set_write_timeout(Some(LOOK * 4))?;
        Ok(stream)
    }

    fn say(&self, mut stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
        let done = stream.write_all(bytes);
        if done.is_ok() {
            let sent = bytes.len() as u64;
            self.plan.sent.fetch_add(sent, Ordering::Relaxed);
        }
        done
    }

    fn handshake(&mut self) -> [u8; 68] {
        let mut out = [0; 68];
        out[0] = 19;
        out[1..20].copy_from_slice(b"BitTorrent protocol");
        // Extensions (BEP 10) and fast (BEP 6).
        out[25] = 0x10;
        out[27] = 0x04;
        out[28..48].copy_from_slice(&self.plan.info_hash);
        out[48..56].copy_from_slice(b"-XX0000-");
        for byte in &mut out[56..] {
            *byte = self.next() as u8;
        }
        out
    }

    /// Shakes hands.
    fn greet(&mut self) -> io::Result<TcpStream> {
        let stream = self.connect()?;
        let hello = self.handshake();
        self.say(&stream, &hello)?;
        let mut theirs = [0; 68];
        (&stream).read_exact(&mut theirs)?;
        self.plan.connections.fetch_add(1, Ordering::Relaxed);
        Ok(stream)
    }

    /// Reads what there is and throws it away, without waiting for long.
    fn skim(&self, mut stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_millis(1)))?;
        let mut buffer = [0; 64 << 10];
        for _ in 0..16 {
            match stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if is_slow(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Until it is thrown out or stops: says what `make` makes.
    fn flood(
        &mut self,
        stream: &TcpStream,
        reads: bool,
        mut make: impl FnMut(&mut Self, &mut Vec<u8>),
    ) -> io::Result<()> {
        while !self.stopped() {
            let mut burst = Vec::with_capacity(BURST + (17 << 10));
            while burst.len() < BURST {
                make(self, &mut burst);
            }
            match self.say(stream, &burst) {
                Err(error) if is_slow(&error) && !reads => {}
                other => other?,
            }
            if reads {
                self.skim(stream)?;
            }
            sleep(PAUSE);
        }
        Ok(())
    }

    /// Waits for the end without a word.
    fn wait(&self, mut stream: &TcpStream) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        stream.set_read_timeout(Some(LOOK))?;
        while !self.stopped() {
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Err(error) if !is_slow(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn request(&mut self) -> Vec<u8> {
        let piece = self.next() % self.plan.pieces;
        let offset = self.next() % self.plan.piece_size / 16384 * 16384;
        words(6, &[piece, offset, 16384])
    }

    fn once(&mut self) -> io::Result<()> {
        match self.kind() {
            4 => {
                let stream = self.connect()?;
                self.wait(&stream)
            }
            5 => self.slow_loris(),
            _ => {
                let stream = self.greet()?;
                self.attack(&stream)
            }
        }
    }

    fn slow_loris(&mut self) -> io::Result<()> {
        let stream = self.connect()?;
        for byte in self.handshake() {
            if self.stopped() {
                break;
            }
            self.say(&stream, &[byte])?;
            sleep(Duration::from_secs(1));
        }
        Ok(())
    }

    fn attack(&mut self, stream: &TcpStream) -> io::Result<()> {
        let (have_all, have_none) = (message(14, &[]), message(15, &[]));
        let (unchoke, interested) = (message(1, &[]), message(2, &[]));
        let giver = [have_all.clone(), unchoke].concat();
        let asker = [have_none, interested].concat();
        match self.kind() {
            0 | 1 => {
                self.say(stream, &asker)?;
                let reads = self.kind() == 0;
                self.flood(stream, reads, |me, out| out.extend(me.request()))
            }
            2 => self.flood(stream, true, |me, out| {
                let piece = me.next() % me.plan.pieces;
                out.extend(words(4, &[piece]));
            }),
            3 => self.flood(stream, true, |me, out| {
                out.extend(me.next().to_be_bytes());
            }),
            6 => {
                self.say(stream, &giver)?;
                self.corrupt(stream)
            }
            7 => self.metadata(stream),
            8 => {
                self.say(stream, &giver)?;
                self.flood(stream, true, |me, out| {
                    let piece = me.next() % me.plan.pieces;
                    let mut block = words(7, &[piece, 0])[4..].to_vec();
                    block.resize(9 + 16384, me.next() as u8);
                    out.extend((block.len() as u32).to_be_bytes());
                    out.extend(block);
                })
            }
            9 => stream.shutdown(Shutdown::Both),
            10 => {
                let length = [u32::MAX, 1 << 31, 1 << 24][self.next() as usize % 3];
                self.say(stream, &length.to_be_bytes())?;
                let id = self.next() as u8 % 22;
                self.flood(stream, true, |_, out| out.push(id))
            }
            11 => {
                self.say(stream, &giver)?;
                self.wait(stream)
            }
            12 => {
                self.say(stream, &have_all)?;
                let bytes = vec![0; self.plan.pieces.div_ceil(8) as usize];
                self.flood(stream, true, |_, out| out.extend(message(5, &bytes)))
            }
            13 => {
                self.say(stream, &have_all)?;
                self.flood(stream, true, |me, out| {
                    let id = me.next() as u8 % 4;
                    out.extend(message(id, &[]));
                    let mut cancel = me.request();
                    cancel[4] = [8, 16, 6][me.next() as usize % 3];
                    out.extend(cancel);
                })
            }
            _ => self.flood(stream, true, |me, out| {
                let long = vec![b'l'; 16 << 10];
                out.extend(message(20, &[&[me.next() as u8 % 3], &long[..]].concat()));
            }),
        }
    }

    /// Answers what it is asked, wrongly, for as long as it is asked.
    fn corrupt(&mut self, mut stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(LOOK))?;
        let mut seen = Instant::now();
        while !self.stopped() && seen.elapsed() < Duration::from_secs(20) {
            let mut head = [0; 4];
            match stream.read_exact(&mut head) {
                Err(error) if is_slow(&error) => continue,
                other => other?,
            }
            seen = Instant::now();
            let mut body = vec![0; u32::from_be_bytes(head).min(1 << 20) as usize];
            stream.set_read_timeout(Some(LOOK * 10))?;
            stream.read_exact(&mut body)?;
            stream.set_read_timeout(Some(LOOK))?;
            if body.first() == Some(&6) && body.len() == 13 {
                let length = u32::from_be_bytes([body[9], body[10], body[11], body[12]]);
                let mut block = body[1..9].to_vec();
                block.resize(8 + length.min(1 << 17) as usize, self.next() as u8);
                self.say(stream, &message(7, &block))?;
            }
        }
        Ok(())
    }

    fn metadata(&mut self, stream: &TcpStream) -> io::Result<()> {
        let sizes = ["9223372036854775807", "0", "-1", "16777217", "40"];
        let size = sizes[self.next() as usize % sizes.len()];
        let hello = format!("\0d1:md11:ut_metadatai3ee13:metadata_sizei{size}ee");
        self.say(stream, &message(20, hello.as_bytes()))?;
        self.flood(stream, true, |me, out| {
            let piece = me.next();
            let kind = me.next() % 4;
            let mut said = vec![1];
            said.extend(
                format!("d8:msg_typei{kind}e5:piecei{piece}e10:total_sizei{size}ee").bytes(),
            );
            said.extend(vec![0; 1000]);
            out.extend(message(20, &said));
        })
    }
}

fn is_slow(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
