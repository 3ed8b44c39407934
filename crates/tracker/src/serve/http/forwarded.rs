//! Who asks, where a proxy asks for them: `X-Forwarded-For`, or `Forwarded` (RFC 7239).
//!
//! Every proxy on the way adds the address that it was asked from at the right. What our own proxies have
//! added is true, and the first address from the right that is not one of ours is the client: whatever
//! stands left of it, the client may have invented. Nothing is believed of anybody else, and of the two
//! headers only the one that our proxies are known to write: the other comes from the client.

use crate::guard::Net;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// The header in which our proxies say who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`, as nearly all write it.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl ProxyHeader {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

impl fmt::Display for ProxyHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ProxyHeader {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::XForwardedFor, Self::Forwarded]
            .into_iter()
            .find(|header| header.name() == text)
            .ok_or_else(|| {
                format!("'{text}' is not a header of proxies: x-forwarded-for or forwarded")
            })
    }
}

/// The client behind trusted proxies, from the values of their header in order; `None` if they do not
/// say, or not in a way that can be read.
pub(super) fn client(header: ProxyHeader, values: &[&[u8]], trusted: &[Net]) -> Option<IpAddr> {
    let mut last = None;
    for value in values.iter().rev() {
        for hop in value.rsplit(|byte| *byte == b',') {
            let text = std::str::from_utf8(hop).ok()?.trim();
            let ip = match header {
                ProxyHeader::XForwardedFor => address(text)?,
                ProxyHeader::Forwarded => address(for_part(text)?)?,
            };
            if !trusted.iter().any(|net| net.contains(ip)) {
                return Some(ip);
            }
            last = Some(ip);
        }
    }
    // All of them are ours: the one that began is one of our own hosts.
    last
}

/// What follows `for=` in one element of `Forwarded`.
fn for_part(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let is_for = name.trim().eq_ignore_ascii_case("for");
        is_for.then(|| value.trim().trim_matches('"'))
    })
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let ip = bare.or_else(|| text.parse::<SocketAddr>().ok().map(|addr| addr.ip()))?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(header: ProxyHeader, values: &[&str]) -> Option<String> {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().expect("a network"));
        let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
        client(header, &values, &trusted).map(|ip| ip.to_string())
    }

    #[test]
    fn the_rightmost_that_is_not_ours_is_the_client() {
        for (values, client) in [
            (&["192.0.2.1"][..], Some("192.0.2.1")),
            (&["6.6.6.6, 192.0.2.1"], Some("192.0.2.1")),
            (
                &["6.6.6.6, 192.0.2.1, 10.0.0.1 ,fd00::1"],
                Some("192.0.2.1"),
            ),
            (&["6.6.6.6", "192.0.2.1", "10.1.1.1"], Some("192.0.2.1")),
            (&["2001:db8::1"], Some("2001:db8::1")),
            (&["[2001:db8::1]:443"], Some("2001:db8::1")),
            (&["192.0.2.1:5555"], Some("192.0.2.1")),
            (&["::ffff:192.0.2.1"], Some("192.0.2.1")),
            (&["10.0.0.7, 10.0.0.1"], Some("10.0.0.7")),
            (&[], None),
            (&[""], None),
            (&["192.0.2.1, unknown"], None),
            (&["192.0.2.1, unknown, 10.0.0.1"], None),
            (&["rubbish, 192.0.2.1"], Some("192.0.2.1")),
            (&["192.0.2.1,"], None),
            (&["\u{e9}"], None),
        ] {
            let said = says(ProxyHeader::XForwardedFor, values);
            assert_eq!(said.as_deref(), client, "{values:?}");
        }
    }

    #[test]
    fn the_header_of_rfc_7239() {
        for (value, client) in [
            (
                "for=192.0.2.60;proto=http;by=203.0.113.43",
                Some("192.0.2.60"),
            ),
            (
                "For=\"[2001:db8:cafe::17]:4711\"",
                Some("2001:db8:cafe::17"),
            ),
            (
                "for=6.6.6.6, for=192.0.2.43, for=10.0.0.1",
                Some("192.0.2.43"),
            ),
            ("proto=https; for=\"192.0.2.1:80\"", Some("192.0.2.1")),
            ("for=_hidden", None),
            ("by=192.0.2.1", None),
        ] {
            let said = says(ProxyHeader::Forwarded, &[value]);
            assert_eq!(said.as_deref(), client, "{value}");
        }
        for header in [ProxyHeader::XForwardedFor, ProxyHeader::Forwarded] {
            assert_eq!(header.to_string().parse(), Ok(header));
        }
    }
}
