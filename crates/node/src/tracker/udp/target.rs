//! udp addresses: host, port, and what a tracker is told of the rest.

use hyper::Uri;
use samara_proto::tracker::udp::Options;

/// An udp address, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    host: String,
    port: u16,
    path: String,
}

impl Target {
    /// Whether an address is of this kind, right or wrong.
    pub(crate) fn is_meant(text: &str) -> bool {
        text.split_once("://")
            .is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("udp"))
    }

    /// Reads an address. The error is for people.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.split('#').next().unwrap_or(text);
        let uri: Uri = text
            .parse()
            .map_err(|_| "it is not a well-formed address".to_owned())?;
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err("it names no host".to_owned());
        }
        let port = uri.port_u16().filter(|port| *port != 0);
        let port = port.ok_or("a udp address needs a port, as in udp://tracker.example:6969")?;
        Ok(Self {
            host: host.to_owned(),
            port,
            path: uri
                .path_and_query()
                .map_or_else(String::new, |path| path.as_str().to_owned()),
        })
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What follows an announce (BEP 41): path and query, where there are any. A key of a private
    /// tracker stands there.
    pub(super) fn options(&self) -> Vec<u8> {
        match self.path.as_str() {
            "" | "/" => Vec::new(),
            path => Options::pack_url(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let of = |text| Target::parse(text).expect("valid");
        let target = of("udp://t.example:1337/announce?key=1#x");
        assert_eq!((target.host(), target.port()), ("t.example", 1337));
        assert_eq!(
            Options::packed(&target.options()).url_data(),
            b"/announce?key=1"
        );
        assert_eq!(of("udp://[::1]:6969").host(), "::1");
        for bare in ["udp://a:1", "udp://a:1/"] {
            assert!(of(bare).options().is_empty(), "{bare}");
        }
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "udp://",
            "udp://a",
            "udp://a:0",
            "udp://a:99999",
            "udp:// a:1",
        ] {
            assert!(
                Target::is_meant(text) && Target::parse(text).is_err(),
                "{text}"
            );
        }
        for text in ["", "udp", "http://udp://a:1", "udpx://a:1"] {
            assert!(!Target::is_meant(text), "{text}");
        }
        assert!(Target::is_meant("UDP://a:1"));
    }
}
