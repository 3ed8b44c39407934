//! Connections at a time, by address and by network.

use super::{Limit, address_key, network_key};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts of what is open. An entry has at least one connection, so that there are no more of them than
/// the server has connections.
#[derive(Debug, Default)]
pub(super) struct Places {
    open: Mutex<Open>,
    address_limit: AtomicUsize,
    network_limit: AtomicUsize,
    turned_away: [AtomicU64; 2],
}

#[derive(Debug, Default)]
struct Open {
    addresses: BTreeMap<u64, usize>,
    networks: BTreeMap<u64, usize>,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    address: u64,
    network: u64,
    places: Arc<Places>,
}

impl Places {
    pub(super) fn new(address_limit: usize, network_limit: usize) -> Self {
        let places = Self::default();
        places.set_limits(address_limit, network_limit);
        places
    }

    pub(super) fn set_limits(&self, address: usize, network: usize) {
        self.address_limit.store(address, Ordering::Relaxed);
        self.network_limit.store(network, Ordering::Relaxed);
    }

    pub(super) fn enter(self: &Arc<Self>, ip: IpAddr) -> Result<Place, Limit> {
        let (address, network) = (address_key(ip), network_key(ip));
        let mut open = self.lock();
        let has = |map: &BTreeMap<u64, usize>, key| map.get(&key).copied().unwrap_or(0);
        let limits = [
            (
                Limit::Address,
                has(&open.addresses, address),
                &self.address_limit,
            ),
            (
                Limit::Network,
                has(&open.networks, network),
                &self.network_limit,
            ),
        ];
        for (limit, has, most) in limits {
            if has >= most.load(Ordering::Relaxed) && !ip.is_loopback() {
                let [of_address, of_network] = &self.turned_away;
                let count = match limit {
                    Limit::Network => of_network,
                    _ => of_address,
                };
                count.fetch_add(1, Ordering::Relaxed);
                return Err(limit);
            }
        }
        *open.addresses.entry(address).or_default() += 1;
        *open.networks.entry(network).or_default() += 1;
        Ok(Place {
            address,
            network,
            places: Arc::clone(self),
        })
    }

    /// Connections that were refused, by the limit of their address and of their network.
    pub(super) fn turned_away(&self) -> (u64, u64) {
        let [address, network] = &self.turned_away;
        (
            address.load(Ordering::Relaxed),
            network.load(Ordering::Relaxed),
        )
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.places.lock();
        let Open {
            addresses,
            networks,
        } = &mut *open;
        for (map, key) in [(addresses, self.address), (networks, self.network)] {
            if let Some(count) = map.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    map.remove(&key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_given_back_and_nothing_stays_behind() {
        let places = Arc::new(Places::new(2, 3));
        let enter = |ip: &str| places.enter(ip.parse().expect("an address"));
        let (one, two) = (enter("192.0.2.1"), enter("192.0.2.1"));
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(enter("192.0.2.1").err(), Some(Limit::Address));
        let three = enter("192.0.2.2");
        assert!(three.is_ok());
        assert_eq!(enter("192.0.2.3").err(), Some(Limit::Network));
        assert!(enter("192.0.3.1").is_ok());
        drop(one);
        assert!(enter("192.0.2.3").is_ok());
        let here: Vec<_> = (0..10).map(|_| enter("127.0.0.1")).collect();
        assert!(here.iter().all(Result::is_ok));
        drop((two, three, here));
        let open = places.lock();
        assert!(open.addresses.is_empty() && open.networks.is_empty());
        assert_eq!(places.turned_away(), (1, 1));
    }
}
