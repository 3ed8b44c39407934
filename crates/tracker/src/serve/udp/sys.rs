//! Many packets with one system call: `recvmmsg` and `sendmmsg` of Linux.
//!
//! A packet costs two switches into the kernel where it is received and answered alone, as most
//! trackers do; in batches of up to [`BATCH`] it costs a part of one. This file wraps the two calls and
//! the socket option beside them, and does nothing else. The headers that the kernel reads are made
//! anew for every call, on the stack, from slices that outlive it: nothing keeps a pointer.

use super::packet::{CONTROL, Inbox, NAME, Outbox};
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

/// Most packets of one call.
pub(super) const BATCH: usize = 64;

const EMPTY_IO: libc::iovec = libc::iovec {
    iov_base: std::ptr::null_mut(),
    iov_len: 0,
};

fn empty_headers() -> [libc::mmsghdr; BATCH] {
    // SAFETY: mmsghdr is a plain C structure of pointers and integers, for which all zeros (null
    // pointers, lengths of 0) is a valid value.
    unsafe { std::mem::zeroed() }
}

/// Waits for a packet (as long as the socket's time limit says), and takes up to [`BATCH`] that have
/// come; how many.
pub(super) fn receive(
    socket: &UdpSocket,
    inbox: &mut [Inbox],
    with_control: bool,
) -> io::Result<usize> {
    let mut headers = empty_headers();
    let mut ios = [EMPTY_IO; BATCH];
    let count = inbox.len().min(BATCH);
    for ((header, io), slot) in headers.iter_mut().zip(&mut ios).zip(inbox.iter_mut()) {
        io.iov_base = slot.bytes.as_mut_ptr().cast();
        io.iov_len = slot.bytes.len();
        header.msg_hdr.msg_iov = io;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_name = slot.name.0.as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = NAME as u32;
        if with_control {
            header.msg_hdr.msg_control = slot.control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL as _;
        }
    }
    // SAFETY: the first `count` headers point to buffers, names, control areas and vectors of the
    // lengths given, which live, mutably borrowed or on this stack, until the call has returned. The
    // kernel writes at most those lengths. A null time limit means none beyond the socket's own.
    let received = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count as libc::c_uint,
            libc::MSG_WAITFORONE as _,
            std::ptr::null_mut(),
        )
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    for (slot, header) in inbox.iter_mut().zip(&headers).take(received) {
        slot.len = header.msg_len as usize;
        slot.truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        slot.control_len = if with_control {
            (header.msg_hdr.msg_controllen as usize).min(CONTROL)
        } else {
            0
        };
    }
    Ok(received)
}

/// Sends each packet back to where the one it answers came from; how many were taken. Fewer than all
/// is no error: the next call says what is wrong with the one after.
pub(super) fn send(
    socket: &UdpSocket,
    outbox: &[Outbox],
    inbox: &mut [Inbox],
) -> io::Result<usize> {
    let mut headers = empty_headers();
    let mut ios = [EMPTY_IO; BATCH];
    let count = outbox.len().min(BATCH);
    for ((header, io), packet) in headers.iter_mut().zip(&mut ios).zip(outbox) {
        let Some(slot) = inbox.get_mut(packet.answers) else {
            continue;
        };
        // The kernel only reads what is sent, though the type says otherwise.
        io.iov_base = packet.bytes.as_ptr().cast_mut().cast();
        io.iov_len = packet.len.min(packet.bytes.len());
        header.msg_hdr.msg_iov = io;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_name = slot.name.0.as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = slot.name.len() as u32;
        if slot.control_len > 0 {
            header.msg_hdr.msg_control = slot.control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = slot.control_len as _;
        }
    }
    // SAFETY: as for `receive`; here the kernel only reads from the buffers, names and control areas.
    // A header without a slot is all zeros, which is an empty message to nobody and is refused.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count as libc::c_uint,
            0,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Has the kernel say to which of this machine's addresses every packet came, so that the answer
/// can go out from the same: clients ignore answers from elsewhere.
pub(super) fn ask_for_destination(socket: &UdpSocket, v6: bool) -> io::Result<()> {
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
