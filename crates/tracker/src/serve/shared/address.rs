//! Where the shared store is.

use samara_proto::tracker::percent_decode;
use std::error::Error;
use std::fmt;
use std::str::FromStr;

/// Redis's usual port, and Sentinel's.
const PORT: u16 = 6_379;
const SENTINEL_PORT: u16 = 26_379;

/// Most servers that an address names: enough to find the others.
const MAX_NAMED: usize = 32;

/// What keys and the channel begin with.
const DEFAULT_PREFIX: &str = "samara";

/// A host and a port.
pub(super) type Node = (String, u16);

/// How servers stand together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One server.
    Single,
    /// One server at a time; Sentinels know which. The name is what they call it.
    Sentinel(String),
    /// Several, each for a part of the keys.
    Cluster,
}

/// Where a shared store is, and how to get in: a URL like `redis://10.0.0.7`,
/// `redis+sentinel://10.0.0.7,10.0.0.8/mymaster` or `redis+cluster://10.0.0.7,10.0.0.8`.
///
/// A user, a password, a database and a prefix of all keys may be given:
/// `redis://user:password@host:6379/2?prefix=site`. The password is not shown again.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedAddress {
    pub(super) kind: Kind,
    pub(super) named: Vec<Node>,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) database: u32,
    pub(super) prefix: String,
}

/// Why an address is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError(&'static str);

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; a shared store is redis://HOST, redis+sentinel://HOST,HOST/NAME or \
             redis+cluster://HOST,HOST, each with [USER:PASSWORD@], [:PORT], [/DATABASE] and \
             [?prefix=WORD]",
            self.0
        )
    }
}

impl Error for AddressError {}

impl fmt::Display for SharedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Single => "",
            Kind::Sentinel(_) => "+sentinel",
            Kind::Cluster => "+cluster",
        };
        write!(f, "redis{kind}://")?;
        for (nth, (host, port)) in self.named.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            if host.contains(':') {
                write!(f, "{comma}[{host}]:{port}")?;
            } else {
                write!(f, "{comma}{host}:{port}")?;
            }
        }
        if let Kind::Sentinel(name) = &self.kind {
            write!(f, "/{name}")?;
        }
        if self.database > 0 {
            write!(f, "/{}", self.database)?;
        }
        if self.prefix != DEFAULT_PREFIX {
            write!(f, "?prefix={}", self.prefix)?;
        }
        Ok(())
    }
}

impl fmt::Debug for SharedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SharedAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = |why| Err(AddressError(why));
        let Some((scheme, rest)) = text.split_once("://") else {
            return wrong("there is no :// in it");
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (front, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = front.rsplit_once('@').unwrap_or(("", front));
        let (kind, port, path) = match scheme {
            "redis" | "valkey" => (Kind::Single, PORT, path),
            "redis+cluster" | "valkey+cluster" => (Kind::Cluster, PORT, path),
            "redis+sentinel" | "valkey+sentinel" => {
                let (name, path) = path.split_once('/').unwrap_or((path, ""));
                if name.is_empty() {
                    return wrong("the name by which Sentinels know the server is missing");
                }
                (Kind::Sentinel(name.to_owned()), SENTINEL_PORT, path)
            }
            "rediss" | "valkeys" => {
                return wrong("TLS to the store is not spoken here: use a tunnel (stunnel, ssh)");
            }
            _ => return wrong("it begins with an unknown word"),
        };
        let database = match path {
            "" => 0,
            path => path
                .parse()
                .map_err(|_| AddressError("the database is no number"))?,
        };
        if kind == Kind::Cluster && database != 0 {
            return wrong("a cluster has one database, 0");
        }
        let named = hosts
            .split(',')
            .map(|host| node(host, port))
            .collect::<Option<Vec<_>>>();
        let Some(named) = named.filter(|named| named.len() <= MAX_NAMED) else {
            return wrong("a host is missing, or a port is no number");
        };
        if kind == Kind::Single && named.len() != 1 {
            return wrong("redis:// has one host");
        }
        let prefix = match query.split_once('=') {
            None if query.is_empty() => DEFAULT_PREFIX,
            Some(("prefix", prefix)) if is_word(prefix) => prefix,
            _ => {
                return wrong("behind the ? stands prefix= and a word of letters, digits, - . _ :");
            }
        };
        let (user, password) = login.split_once(':').unwrap_or(("", login));
        let words = |text: &str| String::from_utf8_lossy(&percent_decode(text)).into_owned();
        Ok(Self {
            kind,
            named,
            user: words(user),
            password: words(password),
            database,
            prefix: prefix.to_owned(),
        })
    }
}

/// A prefix must not have braces: they say by which part of a key a cluster sorts.
fn is_word(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    !text.is_empty() && text.len() <= 64 && text.chars().all(fits)
}

fn node(text: &str, port: u16) -> Option<Node> {
    let (host, port) = match text.strip_prefix('[') {
        Some(six) => {
            let (host, rest) = six.split_once(']')?;
            let port = match rest {
                "" => port,
                rest => rest.strip_prefix(':')?.parse().ok()?,
            };
            (host, port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (text, port),
        },
    };
    (!host.is_empty() && port != 0).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_without_their_password() {
        for (text, shown) in [
            ("redis://localhost", "redis://localhost:6379"),
            ("valkey://[::1]:7/3", "redis://[::1]:7/3"),
            (
                "redis://:p%40ss@h:1?prefix=my-site",
                "redis://h:1?prefix=my-site",
            ),
            (
                "redis+sentinel://u:p@a,b:5/mymaster/2",
                "redis+sentinel://a:26379,b:5/mymaster/2",
            ),
            ("redis+cluster://a,b", "redis+cluster://a:6379,b:6379"),
        ] {
            let address: SharedAddress = text.parse().expect(text);
            assert_eq!(address.to_string(), shown);
            assert_eq!(format!("{address:?}"), shown);
            // What is shown is an address again, but for the way in.
            let again: SharedAddress = shown.parse().expect(shown);
            assert_eq!((&again.kind, &again.named), (&address.kind, &address.named));
        }
        let address: SharedAddress = "redis://me:p%40s%3As@h".parse().expect("read");
        assert_eq!(
            (address.user.as_str(), address.password.as_str()),
            ("me", "p@s:s")
        );
    }

    #[test]
    fn what_is_no_address_is_refused_with_a_reason() {
        for (text, why) in [
            ("localhost:6379", "://"),
            ("http://localhost", "unknown word"),
            ("rediss://localhost", "tunnel"),
            ("redis://", "host is missing"),
            ("redis://a,b", "one host"),
            ("redis://a:70000", "no number"),
            ("redis://a/b", "database"),
            ("redis+sentinel://a", "name"),
            ("redis+cluster://a/1", "one database"),
            ("redis://a?prefix={x}", "prefix"),
            ("redis://a?x=y", "prefix"),
        ] {
            let error = text.parse::<SharedAddress>().expect_err(text);
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
    }
}
