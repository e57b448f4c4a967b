//! Bursts of frames through a packet socket: recvmmsg and sendmmsg.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use flow::packet::Packet;

use crate::port::pool::LONGEST;
use crate::port::{BURST, PacketPool};

/// Bytes of the offload header (`virtio_net_hdr`) before each frame on a socket with
/// `PACKET_VNET_HDR`, both ways.
type Header = [u8; 10];
/// Ancillary data: one `tpacket_auxdata` and its header, in aligned words.
const CONTROL: usize = 8;
const NOWHERE: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

/// Buffers for one burst, with the frames of the last receive.
pub(in crate::port) struct FrameBuffers {
    headers: [Header; BURST],
    slots: Vec<Packet>,
    metas: Vec<Meta>,
}

#[derive(Clone, Copy)]
struct Meta {
    length: usize,
    is_cut: bool,
    vlan: Option<(u16, u16)>,
}

/// One received frame.
pub(in crate::port) struct ReceivedFrame {
    /// The offload header as the kernel wrote it.
    pub(in crate::port) header: Header,
    pub(in crate::port) packet: Packet,
    /// TPID and TCI of the tag that the kernel took out of the frame.
    pub(in crate::port) vlan: Option<(u16, u16)>,
    /// True if the frame was longer than its buffer.
    pub(in crate::port) is_cut: bool,
}

impl FrameBuffers {
    pub(in crate::port) fn new() -> FrameBuffers {
        let slots = (0..BURST).map(|_| PacketPool::default().slot()).collect();
        FrameBuffers { headers: [[0; 10]; BURST], slots, metas: Vec::with_capacity(BURST) }
    }

    /// Receives at most `max` frames without waiting; returns their number. The next call forgets
    /// what was not taken.
    pub(in crate::port) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        max: usize,
    ) -> io::Result<usize> {
        self.metas.clear();
        let max = max.min(BURST);
        let mut control = [[0_u64; CONTROL]; BURST];
        let mut vectors = [[NOWHERE; 2]; BURST];
        // SAFETY: mmsghdr is pointers and integers: all zeroes is a value of it.
        let mut headers: [libc::mmsghdr; BURST] = unsafe { std::mem::zeroed() };
        for (n, (front, slot)) in self.headers.iter_mut().zip(&mut self.slots).enumerate() {
            let room = slot.room();
            let length = room.len().min(LONGEST);
            vectors[n] = [
                libc::iovec { iov_base: front.as_mut_ptr().cast(), iov_len: front.len() },
                libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: length },
            ];
            let header = &mut headers[n].msg_hdr;
            header.msg_iov = vectors[n].as_mut_ptr();
            header.msg_iovlen = 2;
            header.msg_control = control[n].as_mut_ptr().cast();
            header.msg_controllen = size_of_val(&control[n]);
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        // SAFETY: `max` headers are filled in; each points to two iovecs, over its own header and
        // the room of its own slot, and to its own control words, with their lengths; all live
        // through the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                u32::try_from(max).unwrap_or(0),
                flags,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for header in &headers[..count.min(max)] {
            let is_cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            let length = (header.msg_len as usize).saturating_sub(size_of::<Header>());
            self.metas.push(Meta { length, is_cut, vlan: stripped_tag(&header.msg_hdr) });
        }
        Ok(self.metas.len())
    }

    /// A frame of the last receive, by its number. It can be taken once.
    pub(in crate::port) fn take(
        &mut self,
        number: usize,
        pool: &mut PacketPool,
    ) -> Option<ReceivedFrame> {
        let meta = self.metas.get(number)?;
        let (header, slot) = (*self.headers.get(number)?, self.slots.get_mut(number)?);
        slot.received(meta.length.min(LONGEST));
        let packet = pool.received(slot);
        Some(ReceivedFrame { header, packet, vlan: meta.vlan, is_cut: meta.is_cut })
    }
}

/// The VLAN tag among the ancillary data.
fn stripped_tag(header: &libc::msghdr) -> Option<(u16, u16)> {
    // SAFETY: the header was filled in by recvmmsg: its control words hold `msg_controllen`
    // bytes of well-formed messages, and they are still alive. The macros stay within them.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            let (level, kind) = ((*message).cmsg_level, (*message).cmsg_type);
            if level == libc::SOL_PACKET && kind == libc::PACKET_AUXDATA {
                // The data may be less aligned than the structure.
                let data = libc::CMSG_DATA(message).cast::<libc::tpacket_auxdata>();
                let aux = data.read_unaligned();
                if aux.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
                    return None;
                }
                let has_tpid = aux.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
                let tpid = if has_tpid { aux.tp_vlan_tpid } else { 0x8100 };
                return Some((tpid, aux.tp_vlan_tci));
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    None
}

/// Sends frames in order without waiting, each behind its offload header; returns the number of
/// frames that the kernel took. An error is that of the first frame.
pub(in crate::port) fn send(
    socket: BorrowedFd<'_>,
    frames: &[Packet],
    before: &[Header; BURST],
) -> io::Result<usize> {
    let count = frames.len().min(BURST);
    let mut vectors = [[NOWHERE; 2]; BURST];
    // SAFETY: mmsghdr is pointers and integers: all zeroes is a value of it.
    let mut headers: [libc::mmsghdr; BURST] = unsafe { std::mem::zeroed() };
    for (n, frame) in frames[..count].iter().enumerate() {
        // The kernel only reads what these point to, whatever the type of the pointer says.
        vectors[n][0].iov_base = before[n].as_ptr().cast_mut().cast();
        vectors[n][0].iov_len = before[n].len();
        vectors[n][1].iov_base = frame.bytes().as_ptr().cast_mut().cast();
        vectors[n][1].iov_len = frame.len();
        headers[n].msg_hdr.msg_iov = vectors[n].as_mut_ptr();
        headers[n].msg_hdr.msg_iovlen = 2;
    }
    // SAFETY: `count` headers are filled in, each with two iovecs over memory that lives through
    // the call, with its lengths; sending writes to none of it but `msg_len`.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            u32::try_from(count).unwrap_or(0),
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}
