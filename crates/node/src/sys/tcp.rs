//! What the kernel knows of a connection (`TCP_INFO`, tcp(7)).

use std::io;
use std::time::Duration;
use tokio::net::TcpStream;

/// What a look at a connection shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpInfo {
    /// Bytes that the other end has acknowledged, since the connection was made.
    pub(crate) acked: u64,
    /// Bytes that were written and not sent yet.
    pub(crate) unsent: u64,
    /// What a round trip takes: the kernel's rolling average.
    pub(crate) round_trip: Duration,
    /// The shortest round trip of the last minutes; `None` if the kernel (before 4.6) does not say.
    pub(crate) shortest: Option<Duration>,
}

/// Asks the kernel.
///
/// # Errors
/// As `getsockopt`; [`io::ErrorKind::Unsupported`] on systems other than Linux.
pub(crate) fn info(stream: &TcpStream) -> io::Result<TcpInfo> {
    #[cfg(target_os = "linux")]
    return linux(stream);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = stream;
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(target_os = "linux")]
fn linux(socket: &impl std::os::fd::AsRawFd) -> io::Result<TcpInfo> {
    // SAFETY: `tcp_info` holds integers alone; all of them may be zero.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `info`; both live on this stack, and the
    // descriptor is that of a socket that is borrowed.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // What an older kernel does not know it leaves as it was: zero. One that has no sample yet says !0.
    let known = info.tcpi_min_rtt > 0 && info.tcpi_min_rtt < u32::MAX;
    Ok(TcpInfo {
        acked: info.tcpi_bytes_acked,
        unsent: info.tcpi_notsent_bytes.into(),
        round_trip: Duration::from_micros(info.tcpi_rtt.into()),
        shortest: known.then(|| Duration::from_micros(info.tcpi_min_rtt.into())),
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn the_kernel_counts_what_has_arrived() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut here = TcpStream::connect(listener.local_addr()?).await?;
        let (mut there, _) = listener.accept().await?;
        let before = info(&here)?;
        here.write_all(&[7; 50_000]).await?;
        there.read_exact(&mut [0; 50_000]).await?;
        // The answer carries the acknowledgement.
        there.write_all(b"!").await?;
        here.read_exact(&mut [0; 1]).await?;
        let after = info(&here)?;
        assert_eq!(after.acked - before.acked, 50_000);
        assert_eq!(after.unsent, 0);
        assert!(
            after
                .shortest
                .is_some_and(|least| least <= after.round_trip)
        );
        Ok(())
    }

    #[test]
    fn what_is_no_connection_is_an_error() -> io::Result<()> {
        assert!(linux(&UdpSocket::bind("127.0.0.1:0")?).is_err());
        Ok(())
    }
}
