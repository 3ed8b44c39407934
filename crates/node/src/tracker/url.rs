//! http and https addresses: the few parts that a request needs.

use hyper::Uri;
use std::fmt;

/// An http or https address, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    https: bool,
    /// Host and port as they were written: what goes into the Host header.
    authority: String,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    /// Begins with a slash; no fragment.
    path: String,
}

impl Url {
    /// Reads an address. The error is for people.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.split('#').next().unwrap_or(text);
        let uri: Uri = text
            .parse()
            .map_err(|_| "it is not a well-formed address".to_owned())?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(other) => return Err(format!("{other} addresses cannot be used here")),
            None => return Err("it does not begin with http:// or https://".to_owned()),
        };
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err("it names no host".to_owned());
        }
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        // A name and password are not sent in the Host header.
        let authority = authority.rsplit('@').next().unwrap_or(authority);
        Ok(Self {
            https,
            authority: authority.to_owned(),
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(if https { 443 } else { 80 }),
            path: uri
                .path_and_query()
                .map_or_else(|| "/".to_owned(), |path| path.as_str().to_owned()),
        })
    }

    /// Where `to`, found in a reply from here, leads (RFC 3986, 5.2, without dot segments).
    pub(crate) fn join(&self, to: &str) -> Result<Self, String> {
        let scheme = if self.https { "https" } else { "http" };
        let base = format!("{scheme}://{}", self.authority);
        let to = to.trim();
        if to.contains("://") {
            Self::parse(to)
        } else if let Some(rest) = to.strip_prefix("//") {
            Self::parse(&format!("{scheme}://{rest}"))
        } else if to.starts_with('/') {
            Self::parse(&format!("{base}{to}"))
        } else {
            let path = self.path.split('?').next().unwrap_or("/");
            let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
            Self::parse(&format!("{base}{folder}{to}"))
        }
    }

    pub(crate) fn is_https(&self) -> bool {
        self.https
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn path_and_query(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let url = Url::parse("http://a.example:6969/announce?k=%01#x").expect("valid");
        assert_eq!((url.host(), url.port()), ("a.example", 6969));
        assert_eq!(url.path_and_query(), "/announce?k=%01");
        assert_eq!(url.authority(), "a.example:6969");
        let url = Url::parse("https://[::1]/x").expect("valid");
        assert_eq!((url.host(), url.port(), url.is_https()), ("::1", 443, true));
        assert_eq!(url.authority(), "[::1]");
        let url = Url::parse("http://u:p@h").expect("valid");
        assert_eq!((url.authority(), url.path_and_query()), ("h", "/"));
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "",
            "x",
            "/a",
            "udp://t:80",
            "http://",
            "ftp://a/b",
            "http:// a",
        ] {
            assert!(Url::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn redirects() {
        let from = Url::parse("https://a:8443/x/y?z=/q").expect("valid");
        let to = |text| from.join(text).expect("valid").to_string();
        assert_eq!(to("http://b/c"), "http://b/c");
        assert_eq!(to("//b/c"), "https://b/c");
        assert_eq!(to("/c?d"), "https://a:8443/c?d");
        assert_eq!(to("c"), "https://a:8443/x/c");
    }
}
