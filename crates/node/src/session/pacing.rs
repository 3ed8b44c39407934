//! Connections between two ends on one host are not paced.
//!
//! Between them there is no path to probe, and a congestion control that paces (BBR, on hosts set to it) is a timer for
//! every 64 KiB. Plain Reno is in every kernel and open to everybody. Connections that leave the host keep what its
//! administrator has chosen.
//!
//! A socket that BBR has begun keeps its timers whatever control it is given later: with 50 leeches on one machine they are 14 %
//! of all CPU. So a socket has to have Reno before it is connected, and gets back what the host is set to if it turns out
//! to leave the host.

use super::socket::on_this_host;
use socket2::SockRef;
use std::net::{IpAddr, UdpSocket};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// The control that paces.
const PACES: &[u8] = b"bbr";
/// The control of connections that stay on the host.
const PLAIN: &[u8] = b"reno";

/// The congestion control that the host is set to, where a socket was given another one before it was connected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Control(Option<Vec<u8>>);

impl Control {
    /// What comes in is not paced until it is known where it is from.
    pub(crate) fn of_listener(listener: &TcpListener) -> Self {
        Self::take_from(&SockRef::from(listener))
    }

    /// The same for a socket that is to be connected to `to`.
    pub(super) fn of_call(socket: &TcpSocket, to: IpAddr) -> Self {
        if is_here(to) {
            Self::take_from(&SockRef::from(socket))
        } else {
            Self::default()
        }
    }

    /// Only what paces is taken, and only if it can be given back: other controls may have to be there from the first packet
    /// on, and do no harm on one host.
    fn take_from(socket: &SockRef<'_>) -> Self {
        let Some(control) = name(socket).filter(|name| name == PACES) else {
            return Self::default();
        };
        let gives_back = [PLAIN, &control, PLAIN];
        let taken = gives_back
            .iter()
            .all(|name| socket.set_tcp_congestion(name).is_ok());
        Self(taken.then_some(control))
    }

    /// The connection is there, and so is the answer to where it leads.
    pub(crate) fn settle(&self, stream: &TcpStream) {
        let socket = SockRef::from(stream);
        if on_this_host(stream) {
            let _ = socket.set_tcp_congestion(PLAIN);
        } else if let Some(control) = &self.0 {
            let _ = socket.set_tcp_congestion(control);
        }
    }
}

fn name(socket: &SockRef<'_>) -> Option<Vec<u8>> {
    let mut name = socket.tcp_congestion().ok()?;
    name.truncate(
        name.iter()
            .position(|byte| *byte == 0)
            .unwrap_or(name.len()),
    );
    Some(name)
}

/// Whether an address is one of this machine's: then a socket can be bound to it.
fn is_here(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::socket::{dial, listen};
    use super::*;
    use std::net::SocketAddr;

    fn control_of(stream: &TcpStream) -> Vec<u8> {
        name(&SockRef::from(stream)).expect("known")
    }

    #[tokio::test]
    async fn what_stays_on_this_host_is_not_paced_from_the_start() {
        let listener = listen("127.0.0.1:0".parse().expect("address")).expect("a port");
        let hosts = name(&SockRef::from(&listener)).expect("known");
        let control = Control::of_listener(&listener);
        let to: SocketAddr = listener.local_addr().expect("bound");
        let (dialled, accepted) = tokio::join!(dial(to, to.ip()), listener.accept());
        let (dialled, accepted) = (dialled.expect("connected"), accepted.expect("accepted").0);
        if hosts == PACES {
            assert_eq!(control_of(&accepted), PLAIN);
            assert_eq!(control.0.as_deref(), Some(PACES));
        }
        control.settle(&accepted);
        for stream in [dialled, accepted] {
            assert!(on_this_host(&stream));
            assert_eq!(control_of(&stream), PLAIN);
        }
    }

    #[tokio::test]
    async fn what_was_taken_can_be_given_back() {
        let listener = listen("127.0.0.1:0".parse().expect("address")).expect("a port");
        let hosts = name(&SockRef::from(&listener)).expect("known");
        if let Some(control) = Control::of_listener(&listener).0 {
            assert_eq!(control, hosts);
            let socket = SockRef::from(&listener);
            socket.set_tcp_congestion(&control).expect("given back");
            assert_eq!(name(&socket).as_deref(), Some(&control[..]));
        }
    }

    #[test]
    fn only_addresses_of_this_machine_are_here() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("address");
        assert!(is_here(ip("127.0.0.1")) && is_here(ip("::ffff:127.0.0.1")));
        // Set aside for documentation (RFC 5737): nobody has it.
        assert!(!is_here(ip("192.0.2.7")));
    }
}
