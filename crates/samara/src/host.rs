//! What other hosts call this one.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// An address by which other hosts are likely to reach this one: that of the default route, else of
/// the first interface that is not the loopback; 127.0.0.1 on a machine without a network.
pub fn reachable_address() -> IpAddr {
    by_route()
        .or_else(by_interface)
        .unwrap_or(Ipv4Addr::LOCALHOST.into())
}

/// `host` as it stands in a URL: IPv6 addresses in brackets.
pub fn in_url(host: &str, port: u16) -> String {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) => format!("{host}:{port}"),
    }
}

/// Connecting a UDP socket sends nothing; the kernel only picks the source address that it would use.
/// 192.0.2.1 and 2001:db8::1 are documentation addresses (RFC 5737, 3849): routed like any other.
fn by_route() -> Option<IpAddr> {
    let source = |bind: &str, to: &str| {
        let socket = UdpSocket::bind(bind).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(usable)
    };
    source("0.0.0.0:0", "192.0.2.1:9").or_else(|| source("[::]:0", "[2001:db8::1]:9"))
}

fn by_interface() -> Option<IpAddr> {
    let mut found: Vec<IpAddr> = if_addrs::get_if_addrs()
        .ok()?
        .into_iter()
        .map(|interface| interface.ip())
        .filter(usable)
        .collect();
    // More clients and trackers speak IPv4; within a family the order is the system's.
    found.sort_by_key(IpAddr::is_ipv6);
    found.first().copied()
}

fn usable(ip: &IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !ip.is_loopback() && !ip.is_unspecified() && !link_local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_in_urls() {
        assert_eq!(in_url("files.example.org", 80), "files.example.org:80");
        assert_eq!(in_url("10.0.0.1", 6969), "10.0.0.1:6969");
        assert_eq!(in_url("2001:db8::7", 6969), "[2001:db8::7]:6969");
        assert_eq!(in_url("[2001:db8::7]", 6969), "[2001:db8::7]:6969");
    }

    #[test]
    fn some_address_is_always_found() {
        assert!(!reachable_address().is_unspecified());
    }
}
