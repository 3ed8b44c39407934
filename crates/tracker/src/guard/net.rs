//! A network in CIDR notation: `10.0.0.0/8`, `2001:db8::/32`, or one address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    ip: IpAddr,
    bits: u8,
}

/// What is wrong with the text of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetError(String);

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is not a network; write it like 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7",
            self.0
        )
    }
}

impl std::error::Error for NetError {}

impl Net {
    /// Whether `ip` is in it. An IPv4 address that is mapped into IPv6 is an IPv4 address.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let same = |one: u128, other: u128, width: u8| {
            // A shift by the whole width is not one.
            let rest = u32::from(width - self.bits);
            (one ^ other).checked_shr(rest).unwrap_or(0) == 0
        };
        match (self.ip, ip.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                same(net.to_bits().into(), ip.to_bits().into(), 32)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => same(net.to_bits(), ip.to_bits(), 128),
            _ => false,
        }
    }
}

impl FromStr for Net {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Self, NetError> {
        let wrong = || NetError(text.to_owned());
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip, Some(bits)),
            None => (text, None),
        };
        let ip: IpAddr = ip.trim().parse().map_err(|_| wrong())?;
        let width = if ip.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.trim().parse().map_err(|_| wrong())?,
            None => width,
        };
        if bits > width {
            return Err(wrong());
        }
        Ok(Self { ip, bits })
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        for (net, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.7", "::ffff:192.0.2.7", "::c000:207"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("::/0", "2001:db8::1", "1.2.3.4"),
            ("2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"),
            ("2001:db8::1/128", "2001:db8::1", "2001:db8::"),
        ] {
            let parsed: Net = net.parse().expect(net);
            let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
            assert!(parsed.contains(ip(inside)), "{net} {inside}");
            assert!(!parsed.contains(ip(outside)), "{net} {outside}");
            assert_eq!(parsed.to_string().parse(), Ok(parsed));
        }
        for text in [
            "",
            "/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "a/8",
            "10.0.0.0/-1",
        ] {
            let error = text.parse::<Net>().expect_err(text);
            assert!(error.to_string().contains("write it like"));
        }
    }
}
