//! Where a tracker's address, or a redirect, may lead.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whether an address can be reached from everywhere, as far as addresses say.
pub(crate) fn is_global(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_global_v4(ip),
        IpAddr::V6(ip) => is_global_v6(ip),
    }
}

fn is_global_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b); // RFC 6598
    let benchmark = a == 198 && (b == 18 || b == 19); // RFC 2544
    !(a == 0
        || ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || a >= 240
        || shared
        || benchmark)
}

fn is_global_v6(ip: Ipv6Addr) -> bool {
    let first = ip.segments()[0];
    let unique_local = first & 0xfe00 == 0xfc00; // RFC 4193
    let link_local = first & 0xffc0 == 0xfe80;
    !(ip.is_unspecified()
        || ip.is_loopback()
        || ip.is_multicast()
        || unique_local
        || link_local
        || ip.to_ipv4().is_some_and(|v4| !is_global_v4(v4))
        || embedded_v4(ip).is_some_and(|v4| !is_global_v4(v4)))
}

/// The IPv4 address that a translator would go on to: NAT64 (RFC 6052) and 6to4 (RFC 3056).
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, .., y, z] = ip.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match (a, b) {
        (0x64, 0xff9b) => Some(join(y, z)),
        (0x2002, _) => Some(join(b, c)),
        _ => None,
    }
}

/// Whether who was asked at `from` may send us on to `next`: nobody in the world leads us into our own network.
pub(crate) fn may_lead(from: IpAddr, next: &[SocketAddr]) -> bool {
    !is_global(from) || next.iter().all(|addr| is_global(addr.ip()))
}

/// Whether a tracker may be asked at `path`. Torrents come from strangers, and programs on this machine do
/// what a GET says without asking who says it: there, only what looks like a tracker is asked.
pub(crate) fn may_ask(path_and_query: &str, addrs: &[SocketAddr]) -> bool {
    let path = path_and_query.split('?').next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    let tracker = last.starts_with("announce") || last.starts_with("scrape");
    let here = |addr: &SocketAddr| {
        let ip = addr.ip().to_canonical();
        ip.is_loopback() || ip.is_unspecified()
    };
    tracker || !addrs.iter().any(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_20_a_redirect_from_the_world_does_not_lead_home() {
        let leads = |from: &str, to: &[&str]| {
            let to: Vec<SocketAddr> = to.iter().map(|to| to.parse().expect("one")).collect();
            may_lead(from.parse().expect("one"), &to)
        };
        for home in [
            "127.0.0.1:80",
            "192.168.1.1:80",
            "169.254.169.254:80",
            "[::1]:80",
        ] {
            assert!(!leads("8.8.8.8", &[home]), "{home}");
            assert!(
                !leads("2606:4700::1", &["8.8.4.4:80", home]),
                "one of a name's addresses"
            );
            assert!(leads("192.168.1.2", &[home]), "at home anything goes");
        }
        assert!(leads("8.8.8.8", &["8.8.4.4:80", "[2606:4700::1]:443"]));
        assert!(leads("127.0.0.1", &["8.8.4.4:80"]));
    }

    #[test]
    fn attack_20_a_torrent_cannot_make_us_ask_other_programs_of_this_machine() {
        let at = |text: &str| [text.parse::<SocketAddr>().expect("an address")];
        for addr in [
            "127.0.0.1:9091",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
            "0.0.0.0:80",
        ] {
            assert!(
                !may_ask("/transmission/rpc?method=torrent-add", &at(addr)),
                "{addr}"
            );
            assert!(!may_ask("/?announce", &at(addr)), "{addr}");
            assert!(may_ask("/announce?key=1", &at(addr)), "{addr}");
            assert!(may_ask("/key/scrape.php", &at(addr)), "{addr}");
        }
        assert!(may_ask("/tracker.php", &at("8.8.8.8:80")));
    }

    #[test]
    fn attack_20_what_is_global() {
        let global = |text: &str| is_global(text.parse().expect("address"));
        for text in ["8.8.8.8", "192.0.1.1", "2606:4700::1", "::ffff:8.8.8.8"] {
            assert!(global(text), "{text}");
        }
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "::ffff:192.168.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::1",
            "2002:c0a8:1::1",
        ] {
            assert!(!global(text), "{text}");
        }
    }
}
