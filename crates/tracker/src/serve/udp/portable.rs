//! One packet at a time, where the system has no calls for many.

use super::packet::{Inbox, Outbox};
use super::train::Train;
use std::io;
use std::net::UdpSocket;

/// Most packets of one call.
#[cfg(not(target_os = "linux"))]
pub(super) const BATCH: usize = 1;

/// Waits for a packet.
pub(super) fn receive(socket: &UdpSocket, inbox: &mut [Inbox], _: bool) -> io::Result<usize> {
    let Some(slot) = inbox.first_mut() else {
        return Ok(0);
    };
    let (len, from) = socket.recv_from(&mut slot.bytes)?;
    slot.len = len;
    slot.truncated = false;
    slot.control_len = 0;
    slot.name.set(from);
    Ok(1)
}

/// Sends the first train, which has one car.
pub(super) fn send(
    socket: &UdpSocket,
    trains: &[Train],
    order: &[u16],
    outbox: &[Outbox],
    inbox: &mut [Inbox],
) -> io::Result<usize> {
    let first = trains.first().and_then(|train| train.cars(order).first());
    let Some(packet) = first.and_then(|car| outbox.get(usize::from(*car))) else {
        return Ok(0);
    };
    if let Some(to) = inbox.get(packet.answers).and_then(|slot| slot.name.get()) {
        socket.send_to(packet.bytes.get(..packet.len).unwrap_or_default(), to)?;
    }
    Ok(1)
}

/// Nothing: the system's own choice has to do.
#[cfg(not(target_os = "linux"))]
pub(super) fn ask_for_destination(_: &UdpSocket, _: bool) -> io::Result<()> {
    Ok(())
}
