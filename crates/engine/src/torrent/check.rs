//! The books of a torrent, for tests and fuzzing: what the rooms believe of each other is true.

use super::Torrent;
use crate::io::Phase;

impl Torrent {
    /// Panics if the books do not balance, or a limit is passed.
    #[doc(hidden)]
    pub fn check(&self) {
        self.picker.check();
        let have = self.picker.have();
        for (key, peer) in &self.peers {
            let useful = peer.has.iter().filter(|piece| !have.get(*piece)).count();
            assert_eq!(peer.useful as usize, useful, "useful pieces of {key:?}");
            assert!(peer.requests.len() <= self.config.request_queue);
            assert!(peer.asked.len() <= self.config.pipeline_max.max(1));
            if self.phase == Phase::Downloading {
                for asked in &peer.asked {
                    let known = self.picker.is_asked(*key, asked.span);
                    assert!(
                        known,
                        "the picker does not know {:?} of {key:?}",
                        asked.span
                    );
                }
            }
        }
        let seeds = self.peers.values().filter(|peer| peer.counted_as_seed);
        self.picker.check_holders(seeds.count(), |piece| {
            let others = self.peers.values().filter(|peer| !peer.counted_as_seed);
            others.filter(|peer| peer.has.get(piece)).count()
        });
        assert!(self.peers.len() <= self.config.peers_max);
        assert!(self.candidates.dialling() <= self.config.dials_max);
        let lengths = have.iter().map(|piece| self.geometry.data_len(piece));
        assert_eq!(lengths.map(u64::from).sum::<u64>(), self.bytes_have);
    }
}
