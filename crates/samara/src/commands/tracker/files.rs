//! Open files: each connection is one, and systems are stingy with them unless they are asked.

/// Files that are not connections: listeners, UDP sockets, the state, the log.
const OTHERS: usize = 128;

/// As many of `wanted` connections as this process may have open. What it may have at the most, it asks
/// for: usually it starts with 1,024 of a million.
#[cfg(unix)]
pub fn room_for(wanted: usize) -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let before = getrlimit(Resource::Nofile);
    let mut more = before;
    more.current = before.maximum;
    let allowed = match setrlimit(Resource::Nofile, more) {
        Ok(()) => before.maximum,
        Err(_) => before.current,
    };
    let room = allowed.map_or(usize::MAX, |files| {
        usize::try_from(files).unwrap_or(usize::MAX)
    });
    let room = room.saturating_sub(OTHERS).max(16);
    if room < wanted {
        tracing::warn!(
            wanted,
            room,
            "fewer connections than wanted: this process may not have more files open (ulimit -n)"
        );
    }
    wanted.min(room)
}

#[cfg(not(unix))]
pub fn room_for(wanted: usize) -> usize {
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_some_and_never_for_more_than_is_wanted() {
        assert_eq!(room_for(20), 20);
        assert!((16..=usize::MAX).contains(&room_for(usize::MAX)));
    }
}
