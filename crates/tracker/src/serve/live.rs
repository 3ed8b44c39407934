//! What of the settings may change while the server runs, as connections see it.

use super::config::{ServeConfig, TrustIp};
use super::http::ProxyHeader;
use super::keys::Keys;
use crate::guard::Net;
use samara_proto::tracker::{Refusal, RetryIn};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// The settings in force.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) trust_ip: TrustIp,
    pub(super) proxies: Vec<Net>,
    pub(super) proxy_header: ProxyHeader,
    pub(super) pages_for: Vec<Net>,
    pub(super) head_timeout: Duration,
    pub(super) connection_life: Duration,
    pub(super) max_head: usize,
    pub(super) wanted_rate: u64,
    /// Of a private tracker.
    pub(super) keys: Option<Keys>,
}

impl Live {
    pub(super) fn new(config: &ServeConfig, keys: Option<Keys>) -> Self {
        Self {
            trust_ip: config.trust_ip,
            proxies: config.proxies.clone(),
            proxy_header: config.proxy_header,
            pages_for: config.pages_for.clone(),
            head_timeout: config.head_timeout,
            connection_life: config.connection_life,
            max_head: config.max_head,
            wanted_rate: config.wanted_rate,
            keys,
        }
    }

    /// Whether somebody with this key, or without one, may use the tracker. What is said does not depend
    /// on how wrong a key is.
    pub(super) fn admit(&self, key: Option<&str>) -> Result<(), Refusal> {
        let reason = match (&self.keys, key) {
            (None, _) => return Ok(()),
            (Some(keys), Some(key)) if keys.admits(key) => return Ok(()),
            (Some(_), Some(_)) => "this tracker does not know your key: get the torrent again",
            (Some(_), None) => "this tracker is private: its address must contain your key",
        };
        Err(Refusal {
            reason: reason.into(),
            retry_in: Some(RetryIn::Never),
        })
    }

    /// Whether connections from `ip` are those of our own proxies.
    pub(super) fn is_proxy(&self, ip: IpAddr) -> bool {
        self.proxies.iter().any(|net| net.contains(ip))
    }

    /// Whether `ip` may look at the pages about the tracker.
    pub(super) fn shows_pages_to(&self, ip: IpAddr) -> bool {
        self.pages_for.is_empty() || self.pages_for.iter().any(|net| net.contains(ip))
    }
}

/// Where the settings in force are found. Whoever holds them asks with one atomic read whether they
/// are still those in force.
#[derive(Debug)]
pub(super) struct LiveCell {
    number: AtomicU64,
    live: RwLock<Arc<Live>>,
}

/// The settings as somebody saw them.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    number: u64,
    pub(super) live: Arc<Live>,
}

impl LiveCell {
    pub(super) fn new(live: Live) -> Self {
        Self {
            number: AtomicU64::new(0),
            live: RwLock::new(Arc::new(live)),
        }
    }

    pub(super) fn see(&self) -> Seen {
        // The number first: settings that change in between are seen as old ones, and looked at again.
        let number = self.number.load(Ordering::Acquire);
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        Seen {
            number,
            live: Arc::clone(&live),
        }
    }

    /// Looks again if they have changed.
    pub(super) fn refresh(&self, seen: &mut Seen) {
        if self.number.load(Ordering::Acquire) != seen.number {
            *seen = self.see();
        }
    }

    pub(super) fn set(&self, live: Live) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
        self.number.fetch_add(1, Ordering::Release);
    }
}
