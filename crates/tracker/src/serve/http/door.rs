//! Answering at the door: most clients connect, ask once and are done. A request that is there when its connection
//! is taken is read, answered and the connection closed in the same breath (four system calls), without a
//! task, timers, or a place among the sockets that are watched. Whatever is not so simple goes inside.

use super::connection::{Asker, Begun};
use crate::serve::handle::Handle;
use crate::sys::now::receive_now;
use socket2::SockRef;
use std::io;
use std::net::{IpAddr, TcpStream};

/// Bytes that are read at the door. An announce is 300 to 500.
const READ: usize = 2_048;

/// Whoever stands there, with buffers for one connection after the other.
pub(in crate::serve) struct Door {
    asker: Asker,
    bytes: Box<[u8; READ]>,
    out: Vec<u8>,
}

impl Door {
    pub(in crate::serve) fn new(handle: &Handle) -> Self {
        Self {
            asker: Asker {
                handle: handle.clone(),
                seen: handle.see(),
                // Nobody yet.
                socket: IpAddr::from([0; 4]),
            },
            bytes: Box::new([0; READ]),
            out: Vec::new(),
        }
    }

    /// Deals with a connection that `socket` has just opened. What comes back, if there is more to do, has to be
    /// [served](super::serve).
    pub(in crate::serve) fn answer(
        &mut self,
        stream: &TcpStream,
        socket: IpAddr,
        hurry: bool,
    ) -> io::Result<Option<Begun>> {
        let count = match receive_now(stream, self.bytes.as_mut_slice()) {
            Ok(0) => return Ok(None),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Some(Begun::default()));
            }
            Err(error) => return Err(error),
        };
        let bytes = self.bytes.get(..count).unwrap_or_default();
        self.asker.socket = socket;
        self.out.clear();
        let dealt = self.asker.deal(bytes, 0, hurry, &mut self.out);
        let mut sent = 0;
        // More may have come than was read, and closing on that would take back the answer.
        if !dealt.linger && count < READ && !self.out.is_empty() {
            let mut flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            if !dealt.stays {
                // It is held back until the connection is closed, a moment later, and goes out with the end in
                // one packet: a third of what a connection costs.
                flags |= libc::MSG_MORE;
            }
            sent = match SockRef::from(stream).send_with_flags(&self.out, flags) {
                Ok(sent) => sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            if sent == self.out.len() && !dealt.stays {
                return Ok(None);
            }
        }
        let out = self.out.get(sent..).unwrap_or_default().to_vec();
        let mut begun = Begun {
            bytes: bytes.to_vec(),
            out,
            dealt,
        };
        if begun.out.is_empty() && begun.dealt.stays {
            begun.bytes.drain(..begun.dealt.used);
        }
        Ok(Some(begun))
    }
}

#[cfg(test)]
mod tests {
    use super::super::serve;
    use super::*;
    use crate::serve::ServeConfig;
    use std::io::{Read as _, Write as _};
    use std::net::{Shutdown, TcpListener};

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let far = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        (listener.accept().expect("accepts").0, far)
    }

    /// What comes of a connection over which `text` has come so far.
    fn asked(door: &mut Door, text: &[u8]) -> (TcpStream, TcpStream, Option<Begun>) {
        let (near, mut far) = pair();
        far.write_all(text).expect("sends");
        let mut peeked = vec![0; text.len()];
        while !text.is_empty() && near.peek(&mut peeked).expect("peeks") < text.len() {}
        let begun = door.answer(&near, HERE, false).expect("nothing fails");
        (near, far, begun)
    }

    fn door() -> Door {
        Door::new(&Handle::new(&ServeConfig::default()).expect("no files"))
    }

    #[test]
    fn whoever_asks_once_is_answered_and_gone() {
        let mut door = door();
        for _ in 0..3 {
            let text = b"GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
            let (near, mut far, begun) = asked(&mut door, text);
            assert!(begun.is_none());
            drop(near);
            let mut all = String::new();
            far.read_to_string(&mut all).expect("reads to the end");
            assert!(all.starts_with("HTTP/1.1 200 OK\r\n") && all.ends_with("\r\n\r\nok\n"));
        }
    }

    #[test]
    fn what_is_not_so_simple_goes_inside() {
        let mut door = door();
        let (near, far) = pair();
        let begun = door.answer(&near, HERE, false).expect("nothing fails");
        assert!(begun.is_some_and(|begun| begun.bytes.is_empty() && begun.dealt.stays));
        drop(far);
        assert!(door.answer(&near, HERE, false).expect("the end").is_none());

        let half = b"GET /health HT";
        let (.., begun) = asked(&mut door, half);
        assert!(begun.is_some_and(|begun| begun.bytes == half && begun.out.is_empty()));
        // Its answer would be lost if the connection were closed upon the body.
        let body = b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n12345";
        let (.., begun) = asked(&mut door, body);
        assert!(begun.is_some_and(|begun| begun.dealt.linger && !begun.out.is_empty()));
        let more = b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n".repeat(100);
        let (.., begun) = asked(&mut door, &more);
        assert!(begun.is_some_and(|begun| !begun.dealt.stays && !begun.out.is_empty()));
    }

    /// However much of a conversation has come when the connection is taken, the answers are the same.
    #[tokio::test]
    async fn the_door_and_the_inside_are_one() {
        let text = b"GET /health HTTP/1.1\r\nHost: t\r\n\r\nGET /none HTTP/1.1\r\n\r\n\
                     GET /ready HTTP/1.1\r\nConnection: close\r\n\r\n";
        let mut door = door();
        let mut answers = Vec::new();
        for cut in 0..=text.len() {
            let (near, mut far, begun) = asked(&mut door, &text[..cut]);
            far.write_all(&text[cut..]).expect("sends");
            far.shutdown(Shutdown::Write).expect("open");
            if let Some(begun) = begun {
                near.set_nonblocking(true).expect("can be");
                let asker = Asker {
                    handle: door.asker.handle.clone(),
                    seen: door.asker.seen.clone(),
                    socket: HERE,
                };
                let near = tokio::net::TcpStream::from_std(near).expect("watched");
                serve(near, asker, begun, || false).await.expect("served");
            } else {
                drop(near);
            }
            let mut all = String::new();
            far.read_to_string(&mut all).expect("reads to the end");
            answers.push(all);
        }
        let whole = answers.last().expect("one at least");
        assert_eq!(whole.matches("HTTP/1.1 ").count(), 3, "{whole}");
        assert!(answers.iter().all(|one| one == whole), "{answers:?}");
    }
}
