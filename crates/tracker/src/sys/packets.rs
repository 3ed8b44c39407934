//! Many packets with one system call: `recvmmsg` and `sendmmsg` of Linux.
//!
//! A packet costs two switches into the kernel where it is received and answered alone, as most
//! trackers do; in batches of up to [`BATCH`] it costs a part of one. Answers to one socket go through
//! the kernel together (UDP_SEGMENT, Linux 4.18): see `train`. This file wraps the two calls and
//! the socket option beside them, and does nothing else. The headers that the kernel reads are made
//! anew for every call, on the stack, from slices that outlive it: nothing keeps a pointer.

use crate::serve::udp::packet::{CONTROL, Inbox, NAME, Outbox};
use crate::serve::udp::train::Train;
use std::io;
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

/// Most packets of one call, which is also the kernel's own limit. At 400,000 a second they are 2.5 ms.
/// The more there are, the more of the answers to one socket are of one size and go through the kernel as
/// one: see `train`.
pub(crate) const BATCH: usize = 1_024;

/// Bytes of what is said to the kernel beside a train: what it said itself, and a segment size.
const OUT_CONTROL: usize = CONTROL + 24;

/// Aligned as the kernel likes it.
#[derive(Clone, Copy)]
#[repr(align(8))]
struct OutControl([u8; OUT_CONTROL]);

const EMPTY_IO: libc::iovec = libc::iovec {
    iov_base: std::ptr::null_mut(),
    iov_len: 0,
};

/// Headers of one call. Only those that are used are written: clearing a thousand for every few packets
/// would cost more than the packets.
type Headers = [MaybeUninit<libc::mmsghdr>; BATCH];

fn empty_header() -> libc::mmsghdr {
    // SAFETY: mmsghdr is a plain C structure of pointers and integers, for which all zeros (null
    // pointers, lengths of 0) is a valid value.
    unsafe { std::mem::zeroed() }
}

/// Waits for a packet (as long as the socket's time limit says), and takes up to [`BATCH`] that have
/// come, as far as there is room for them; how many.
pub(crate) fn receive(
    socket: &UdpSocket,
    inbox: &mut [Inbox],
    with_control: bool,
) -> io::Result<usize> {
    let mut headers: Headers = [const { MaybeUninit::uninit() }; BATCH];
    let mut ios = [const { MaybeUninit::uninit() }; BATCH];
    let count = inbox.len().min(BATCH);
    for ((header, io), slot) in headers.iter_mut().zip(&mut ios).zip(inbox.iter_mut()) {
        let header = header.write(empty_header());
        header.msg_hdr.msg_iov = io.write(libc::iovec {
            iov_base: slot.bytes.as_mut_ptr().cast(),
            iov_len: slot.bytes.len(),
        });
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_name = slot.name.0.as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = NAME as u32;
        if with_control {
            header.msg_hdr.msg_control = slot.control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL as _;
        }
    }
    // SAFETY: the first `count` headers have been written, and point to buffers, names, control areas and
    // vectors of the lengths given, which live, mutably borrowed or on this stack, until the call has
    // returned. The kernel writes at most those lengths, and looks at no header beyond. A null time limit
    // means none beyond the socket's own.
    let received = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr().cast(),
            count as libc::c_uint,
            libc::MSG_WAITFORONE as _,
            std::ptr::null_mut(),
        )
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    for (slot, header) in inbox.iter_mut().zip(&headers).take(received.min(count)) {
        // SAFETY: it is one of the first `count`, which have been written.
        let header = unsafe { header.assume_init_ref() };
        slot.len = header.msg_len as usize;
        slot.truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        // Its type differs from one C library to another.
        #[allow(clippy::unnecessary_cast)]
        let control_len = (header.msg_hdr.msg_controllen as usize).min(CONTROL);
        slot.control_len = if with_control { control_len } else { 0 };
    }
    Ok(received)
}

/// Sends trains of packets, each back to where the packets that it answers came from; how many trains
/// were taken. Fewer than all is no error: the next call says what is wrong with the one after.
pub(crate) fn send(
    socket: &UdpSocket,
    trains: &[Train],
    order: &[u16],
    outbox: &[Outbox],
    inbox: &mut [Inbox],
) -> io::Result<usize> {
    let mut headers: Headers = [const { MaybeUninit::uninit() }; BATCH];
    let mut ios = [const { MaybeUninit::uninit() }; BATCH];
    let mut controls = [const { MaybeUninit::uninit() }; BATCH];
    let mut free = ios.as_mut_slice();
    let mut count = 0;
    for ((header, control), train) in headers.iter_mut().zip(&mut controls).zip(trains) {
        let cars = train.cars(order);
        if cars.len() > free.len() {
            break;
        }
        let (own, rest) = std::mem::take(&mut free).split_at_mut(cars.len());
        free = rest;
        let mut answers = None;
        for (io, packet) in own.iter_mut().zip(cars) {
            let io = io.write(EMPTY_IO);
            let Some(packet) = outbox.get(usize::from(*packet)) else {
                continue;
            };
            // The kernel only reads what is sent, though the type says otherwise.
            io.iov_base = packet.bytes.as_ptr().cast_mut().cast();
            io.iov_len = packet.len.min(packet.bytes.len());
            answers = Some(packet.answers);
        }
        let Some(slot) = answers.and_then(|at| inbox.get_mut(at)) else {
            break;
        };
        let control = control.write(OutControl([0; OUT_CONTROL]));
        let filled = fill(&mut control.0, slot, (cars.len() > 1).then_some(train.size));
        let header = header.write(empty_header());
        header.msg_hdr.msg_iov = own.as_mut_ptr().cast();
        header.msg_hdr.msg_iovlen = own.len() as _;
        header.msg_hdr.msg_name = slot.name.0.as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = slot.name.len() as u32;
        if filled > 0 {
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = filled as _;
        }
        count += 1;
    }
    // SAFETY: the first `count` headers have been written, and point to as many vectors as they say, all
    // written, to names and control areas of the lengths given, and the vectors to packets of theirs; all
    // of them live, borrowed or on this stack, until the call has returned, and the kernel only reads from
    // them, but for the lengths sent, which it writes into the headers.
    let sent = unsafe {
        let headers = headers.as_mut_ptr().cast();
        libc::sendmmsg(socket.as_raw_fd(), headers, count, 0)
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Writes what the kernel is to know beside a train: from which of our addresses it goes, and at how
/// many bytes it is cut. How many bytes that takes.
fn fill(control: &mut [u8; OUT_CONTROL], slot: &Inbox, size: Option<u16>) -> usize {
    // CMSG_ALIGN and CMSG_LEN(0) of the C library, which are the same thing on Linux: a header of a
    // length and two integers, everything aligned to a word.
    const WORD: usize = size_of::<usize>();
    const HEAD: usize = WORD + 8;
    let mut at = 0;
    if slot.control_len > 0 {
        let said = slot.control.0.get(..slot.control_len).unwrap_or_default();
        if let Some(place) = control.get_mut(..said.len()) {
            place.copy_from_slice(said);
            at = said.len().next_multiple_of(WORD);
        }
    }
    if let Some(size) = size
        && let Some(place) = control.get_mut(at..at + HEAD + 2)
    {
        let header = [
            &(HEAD + 2).to_ne_bytes()[..],
            &libc::SOL_UDP.to_ne_bytes(),
            &libc::UDP_SEGMENT.to_ne_bytes(),
            &size.to_ne_bytes(),
        ];
        for (to, from) in place.iter_mut().zip(header.into_iter().flatten()) {
            *to = *from;
        }
        at += (HEAD + 2).next_multiple_of(WORD);
    }
    at
}

/// Has the kernel say to which of this machine's addresses every packet came, so that the answer
/// can go out from the same: clients ignore answers from elsewhere.
pub(crate) fn ask_for_destination(socket: &UdpSocket, v6: bool) -> io::Result<()> {
    let (level, name) = if v6 {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    } else {
        (libc::IPPROTO_IP, libc::IP_PKTINFO)
    };
    let on: libc::c_int = 1;
    // SAFETY: the value is a c_int of the length given, alive for the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
