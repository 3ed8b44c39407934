//! Handshakes, both ways: the first 68 bytes of a connection.

use super::socket;
use samara_proto::wire::{HANDSHAKE_LEN, Handshake, Reserved};
use samara_proto::{InfoHash, PeerId};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A handshake that is not done after this is given up: it is 68 bytes.
pub(crate) const SHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes up to the end of the info-hash: enough to answer, and some clients wait for the answer
/// before they send their peer id.
const UP_TO_INFO_HASH: usize = 48;

/// A connection whose handshakes are done, about a torrent that both know.
#[derive(Debug)]
pub(crate) struct Shaken {
    pub(crate) stream: TcpStream,
    /// The other end, normalised.
    pub(crate) addr: SocketAddr,
    pub(crate) theirs: Handshake,
}

/// What we say of ourselves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ours {
    pub(crate) peer_id: PeerId,
    /// The torrent has v2 hashes.
    pub(crate) v2: bool,
}

impl Ours {
    fn bytes(self, info_hash: InfoHash) -> [u8; HANDSHAKE_LEN] {
        let handshake = Handshake {
            reserved: Reserved::ours(self.v2),
            info_hash,
            peer_id: self.peer_id,
        };
        handshake.encode()
    }
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Answers a connection that came in. `find` says who we are in the torrent of an info-hash; `None` if
/// we have no such torrent.
pub(crate) async fn answer(
    stream: TcpStream,
    addr: SocketAddr,
    find: impl Fn(InfoHash) -> Option<Ours>,
) -> io::Result<Shaken> {
    let shaking = async move {
        let mut stream = stream;
        socket::tune(&stream);
        let mut bytes = [0; HANDSHAKE_LEN];
        let have = read(&mut stream, &mut bytes, 0, UP_TO_INFO_HASH).await?;
        let early = Handshake::decode(&bytes).ok_or_else(|| refused("another protocol"))?;
        let ours = find(early.info_hash).ok_or_else(|| refused("no such torrent here"))?;
        stream.write_all(&ours.bytes(early.info_hash)).await?;
        read(&mut stream, &mut bytes, have, HANDSHAKE_LEN).await?;
        let theirs = Handshake::decode(&bytes).ok_or_else(|| refused("another protocol"))?;
        Ok(Shaken {
            stream,
            addr,
            theirs,
        })
    };
    timeout(SHAKE_TIMEOUT, shaking)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no handshake"))?
}

/// Dials a peer and shakes hands about `info_hash`. An answer for `upgrade` is one for the same torrent.
pub(crate) async fn call(
    addr: SocketAddr,
    listen: IpAddr,
    info_hash: InfoHash,
    upgrade: Option<InfoHash>,
    ours: Ours,
) -> io::Result<Shaken> {
    let mut stream = socket::dial(addr, listen).await?;
    let shaking = async move {
        socket::tune(&stream);
        stream.write_all(&ours.bytes(info_hash)).await?;
        let mut bytes = [0; HANDSHAKE_LEN];
        read(&mut stream, &mut bytes, 0, HANDSHAKE_LEN).await?;
        let theirs = Handshake::decode(&bytes).ok_or_else(|| refused("another protocol"))?;
        // BEP 52: whoever is told that we speak v2 may answer for the v2 hash of a hybrid torrent.
        if theirs.info_hash != info_hash && Some(theirs.info_hash) != upgrade {
            return Err(refused("another torrent"));
        }
        Ok(Shaken {
            stream,
            addr,
            theirs,
        })
    };
    timeout(SHAKE_TIMEOUT, shaking)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no handshake"))?
}

/// Reads on from `have` bytes to at least `want`, hanging up on another protocol at its first wrong
/// byte. Says how many there are now.
async fn read(
    stream: &mut TcpStream,
    bytes: &mut [u8; HANDSHAKE_LEN],
    mut have: usize,
    want: usize,
) -> io::Result<usize> {
    while have < want {
        // Never beyond the handshake: what follows belongs to the reader of messages.
        let got = stream.read(&mut bytes[have..]).await?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        have += got;
        if !Handshake::may_begin_with(&bytes[..have]) {
            return Err(refused("another protocol"));
        }
    }
    Ok(have)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const HASH: InfoHash = InfoHash([3; 20]);

    fn ours(id: u8) -> Ours {
        Ours {
            peer_id: PeerId([id; 20]),
            v2: false,
        }
    }

    async fn answering() -> (SocketAddr, tokio::task::JoinHandle<io::Result<Shaken>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let addr = listener.local_addr().expect("bound");
        let task = tokio::spawn(async move {
            let (stream, from) = listener.accept().await?;
            answer(stream, from, |hash| (hash == HASH).then(|| ours(1))).await
        });
        (addr, task)
    }

    #[tokio::test]
    async fn both_sides_agree() {
        let (addr, task) = answering().await;
        let called = call(addr, IpAddr::from([0; 4]), HASH, None, ours(2)).await;
        assert_eq!(called.expect("shaken").theirs.peer_id, PeerId([1; 20]));
        let answered = task.await.expect("no panic").expect("shaken");
        assert_eq!(answered.theirs.peer_id, PeerId([2; 20]));
    }

    #[tokio::test]
    async fn bytes_may_come_one_by_one_and_the_answer_comes_before_the_peer_id() {
        let (addr, task) = answering().await;
        let mut stream = TcpStream::connect(addr).await.expect("connect");
        let _ = stream.set_nodelay(true);
        let bytes = ours(2).bytes(HASH);
        for byte in &bytes[..48] {
            stream.write_all(&[*byte]).await.expect("write");
            tokio::task::yield_now().await;
        }
        let mut answer = [0; HANDSHAKE_LEN];
        stream.read_exact(&mut answer).await.expect("answer");
        stream.write_all(&bytes[48..]).await.expect("write");
        assert!(task.await.expect("no panic").is_ok());
    }

    #[tokio::test]
    async fn other_protocols_and_other_torrents_are_hung_up_on() {
        let (addr, task) = answering().await;
        let mut stream = TcpStream::connect(addr).await.expect("connect");
        stream.write_all(b"GET /").await.expect("write");
        // At once: who waits for the rest of a handshake says that time ran out.
        let error = task.await.expect("no panic").expect_err("no BitTorrent");
        assert_ne!(error.kind(), io::ErrorKind::TimedOut);
        let (addr, task) = answering().await;
        let called = call(addr, IpAddr::from([0; 4]), InfoHash([4; 20]), None, ours(2)).await;
        assert!(called.is_err());
        assert!(task.await.expect("no panic").is_err());
    }

    #[tokio::test]
    async fn attack_15_a_handshake_in_68_single_bytes_is_one() {
        let (addr, task) = answering().await;
        let mut stream = TcpStream::connect(addr).await.expect("connect");
        let _ = stream.set_nodelay(true);
        for byte in ours(2).bytes(HASH) {
            stream.write_all(&[byte]).await.expect("write");
            tokio::task::yield_now().await;
        }
        let answered = task.await.expect("no panic").expect("shaken");
        assert_eq!(answered.theirs.peer_id, PeerId([2; 20]));
    }

    /// A byte a second is as good as silence: 68 of them take longer than anybody has.
    #[tokio::test(start_paused = true)]
    async fn attack_15_a_slow_loris_is_cut_off() {
        let (addr, task) = answering().await;
        let mut stream = TcpStream::connect(addr).await.expect("connect");
        let slow = tokio::spawn(async move {
            for byte in ours(2).bytes(HASH) {
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            panic!("it was heard to the end");
        });
        let error = task.await.expect("no panic").expect_err("too slow");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        slow.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn attack_15_a_silent_caller_is_dropped() {
        let (addr, task) = answering().await;
        let _stream = TcpStream::connect(addr).await.expect("connect");
        let error = task.await.expect("no panic").expect_err("timed out");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
