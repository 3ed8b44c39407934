//! Connections as they are, without making them non-blocking and having them watched first: one that is answered
//! as soon as it is taken is spared that.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Has the system say when connections come. Must be called where tokio runs.
pub(crate) fn watch(listener: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    // SAFETY: a `TcpListener` owns its descriptor: it is open, always the same and refers to the same socket until
    // the listener is dropped, which nobody but the `AsyncFd` can do from here on.
    let watched = unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) };
    Ok(watched?)
}

/// Has connections announced only when something has come over them, or after a second (TCP_DEFER_ACCEPT).
pub(crate) fn announce_with_data(listener: &TcpListener) -> io::Result<()> {
    let seconds: libc::c_int = 1;
    // SAFETY: the kernel reads as many bytes as are said behind the pointer, those of an integer on this stack, and
    // the descriptor is that of a listener that is borrowed.
    let done = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Takes what has come, up to the length of `buf`; how much. 0 is the end; `WouldBlock` says that nothing has come.
pub(crate) fn receive_now(stream: &TcpStream, buf: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `buf.len()` bytes into `buf`, which is borrowed mutably until the call
    // has returned, and the descriptor is that of a stream that lives as long.
    let received = unsafe {
        libc::recv(
            stream.as_raw_fd(),
            buf.as_mut_ptr().cast(),
            buf.len(),
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read as _, Write as _};

    /// With what has come over it, or without after a while.
    #[tokio::test]
    async fn a_connection_is_announced() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        listener.set_nonblocking(true).expect("can be");
        announce_with_data(&listener).expect("Linux can");
        let addr = listener.local_addr().expect("bound");
        let watched = watch(listener).expect("watched");
        for text in [&b"here"[..], b""] {
            let mut far = TcpStream::connect(addr).expect("connects");
            let early = watched.get_ref().accept().map_err(|error| error.kind());
            assert!(matches!(early, Err(ErrorKind::WouldBlock)), "{early:?}");
            far.write_all(text).expect("sends");
            let (near, from) = loop {
                let mut ready = watched.readable().await.expect("announced");
                if let Ok(accepted) = ready.try_io(|listener| listener.get_ref().accept()) {
                    break accepted.expect("accepts");
                }
            };
            assert_eq!(from, far.local_addr().expect("bound"));
            let mut buf = [0; 8];
            let came = receive_now(&near, &mut buf).map_err(|error| error.kind());
            match text.len() {
                0 => assert_eq!(came, Err(ErrorKind::WouldBlock)),
                count => assert_eq!(came, Ok(count)),
            }
        }
    }

    /// The same bytes as the safe way, and no waiting.
    #[test]
    fn what_has_come_is_taken_and_nothing_is_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let mut far = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let (mut near, _) = listener.accept().expect("accepts");
        let mut buf = [0; 8];
        let nothing = receive_now(&near, &mut buf).map_err(|error| error.kind());
        assert_eq!(nothing, Err(ErrorKind::WouldBlock));
        far.write_all(b"0123456789abcdef").expect("sends");
        drop(far);
        let mut peeked = [0; 8];
        while near.peek(&mut peeked).expect("waits") < 8 {}
        assert_eq!(receive_now(&near, &mut buf).expect("reads"), 8);
        assert_eq!(buf, peeked);
        let mut rest = Vec::new();
        near.read_to_end(&mut rest).expect("reads");
        assert_eq!(rest, b"89abcdef");
        assert_eq!(receive_now(&near, &mut buf).expect("the end"), 0);
    }
}
