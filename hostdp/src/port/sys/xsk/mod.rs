//! An AF_XDP socket for one queue of an interface, with the memory that frames pass through.

mod ring;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::xdp_desc;

use super::call::{check, option, size_u32};
use super::memory::KernelMapping;
use super::set_int;
use ring::{ConsumerRing, ProducerRing};

/// Bytes of memory per frame: one page, as every driver takes it.
const FRAME: usize = 4096;
/// Bytes that the kernel keeps free before a received frame (`XDP_PACKET_HEADROOM`).
const HEADROOM: usize = 256;
/// Longest frame in bytes that fits both ways.
pub(in crate::port) const XSK_FRAME: usize = FRAME - HEADROOM;
/// Entries of each ring, and frames of each direction.
const RING: u32 = 2048;
/// Entries of the fill ring. The kernel hands a frame over before it says that it has taken the
/// frame's entry, so a ring of as many entries as frames could seem full.
const FILL: u32 = 2 * RING;
/// Frames that the kernel sends with one call in copy mode.
const BATCH: u32 = 32;
/// Room for what is on its way to the device. It has to be enough for a whole ring.
const SEND_BUFFER: i32 = 16 << 20;
/// Kicks in a row without effect before what is left waits for a later call.
const STALLS: u32 = 3;

/// The socket of one queue. Frames are copied out of its memory and into it.
pub(in crate::port) struct XskQueue {
    // The rings go before the socket, and the socket before the memory.
    fill: ProducerRing<u64>,
    completion: ConsumerRing<u64>,
    receive: ConsumerRing<xdp_desc>,
    transmit: ProducerRing<xdp_desc>,
    socket: OwnedFd,
    memory: KernelMapping,
    /// Places of frames to send that are free.
    free: Vec<u64>,
    /// Index in the ring `transmit` up to which the kernel has taken descriptors.
    taken: u32,
}

/// What became of a frame that was given to [`XskQueue::send`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::port) enum XskFate {
    /// The kernel took the descriptor.
    Taken,
    /// The kernel took the descriptor, but the device did not take the frame.
    Refused,
}

impl XskQueue {
    /// Opens a socket with its memory and rings in the calling thread's network namespace.
    pub(in crate::port) fn open() -> Result<XskQueue, (&'static str, io::Error)> {
        let at = |what| move |source| (what, source);
        // SAFETY: takes three integers and returns a descriptor or -1.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        check(fd).map_err(at("AF_XDP socket"))?;
        // SAFETY: the descriptor is new and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let memory = KernelMapping::private(2 * RING as usize * FRAME).map_err(at("memory"))?;
        register(socket.as_fd(), &memory).map_err(at("registering memory"))?;
        // Without the privilege the system's default has to do.
        let _ = set_int(socket.as_fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, SEND_BUFFER);
        for (ring, size) in [
            (libc::XDP_UMEM_FILL_RING, FILL),
            (libc::XDP_UMEM_COMPLETION_RING, RING),
            (libc::XDP_RX_RING, RING),
            (libc::XDP_TX_RING, RING),
        ] {
            let size = i32::try_from(size).unwrap_or(0);
            set_int(socket.as_fd(), libc::SOL_XDP, ring, size).map_err(at("rings"))?;
        }
        XskQueue::map(socket, memory).map_err(at("mapping rings"))
    }

    fn map(socket: OwnedFd, memory: KernelMapping) -> io::Result<XskQueue> {
        // SAFETY: the structure is integers: all zeroes is a value of it.
        let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
        let fd = socket.as_fd();
        option(fd, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, &mut offsets)?;
        let [receive, transmit] = [libc::XDP_PGOFF_RX_RING, libc::XDP_PGOFF_TX_RING]
            .map(|place| u64::try_from(place).unwrap_or(0));
        let (fill, completion) =
            (libc::XDP_UMEM_PGOFF_FILL_RING, libc::XDP_UMEM_PGOFF_COMPLETION_RING);
        let mut queue = XskQueue {
            fill: ProducerRing::map(fd, fill, &offsets.fr, FILL)?,
            completion: ConsumerRing::map(fd, completion, &offsets.cr, RING)?,
            receive: ConsumerRing::map(fd, receive, &offsets.rx, RING)?,
            transmit: ProducerRing::map(fd, transmit, &offsets.tx, RING)?,
            socket,
            memory,
            free: (RING..2 * RING).map(place).collect(),
            taken: 0,
        };
        for frame in 0..RING {
            queue.fill.put(place(frame));
        }
        queue.fill.publish();
        Ok(queue)
    }

    /// Binds the socket to a queue of an interface, which must be up. Zero copy is used where the
    /// driver has it, unless it is not wanted.
    pub(in crate::port) fn bind(&self, index: i32, queue: u32, copy: bool) -> io::Result<()> {
        let address = libc::sockaddr_xdp {
            sxdp_family: u16::try_from(libc::AF_XDP).unwrap_or(0),
            sxdp_flags: libc::XDP_USE_NEED_WAKEUP | if copy { libc::XDP_COPY } else { 0 },
            sxdp_ifindex: u32::try_from(index).unwrap_or(0),
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: 0,
        };
        let length = size_u32::<libc::sockaddr_xdp>();
        // SAFETY: the pointer is to a sockaddr_xdp that lives through the call, with its length.
        check(unsafe { libc::bind(self.socket.as_raw_fd(), (&raw const address).cast(), length) })
    }

    /// True if the driver reads and writes the frames in place.
    pub(in crate::port) fn is_zero_copy(&self) -> bool {
        let mut options = libc::xdp_options { flags: 0 };
        let read = option(self.socket.as_fd(), libc::SOL_XDP, libc::XDP_OPTIONS, &mut options);
        read.is_ok() && options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0
    }

    /// Hands over at most `max` frames that have come in.
    pub(in crate::port) fn receive(&mut self, max: usize, sink: &mut dyn FnMut(&[u8])) {
        let mut count = 0;
        while count < max {
            let Some(descriptor) = self.receive.take() else { break };
            count += 1;
            let frame = usize::try_from(descriptor.addr).ok();
            let start = frame.and_then(|at| self.memory.at::<u8>(at, descriptor.len as usize));
            if let Some(start) = start {
                // SAFETY: the bytes are within the memory. The kernel does not write to them from
                // when it hands the descriptor over until it gets the frame by the fill ring, and
                // this process has no other reference to them.
                let bytes = unsafe { std::slice::from_raw_parts(start, descriptor.len as usize) };
                sink(bytes);
            }
            // The fill ring has more entries than there are frames, so it takes this one.
            self.fill.put(descriptor.addr & !(FRAME as u64 - 1));
        }
        if count > 0 {
            self.receive.release();
            self.fill.publish();
        }
        if self.fill.needs_wakeup() {
            self.wake_receive();
        }
    }

    /// Number of frames that have come in and nobody has fetched.
    pub(in crate::port) fn waiting(&mut self) -> u32 {
        self.receive.waiting()
    }

    /// Puts a frame in the ring; false if there is no room, or the frame is too long.
    /// [`XskQueue::flush`] has to follow.
    pub(in crate::port) fn send(&mut self, frame: &[u8]) -> bool {
        if self.free.is_empty() {
            self.reclaim();
        }
        let (Some(place), Ok(len)) = (self.free.last().copied(), u32::try_from(frame.len())) else {
            return false;
        };
        let start = usize::try_from(place).ok();
        let start = start.and_then(|at| self.memory.at::<u8>(at, frame.len()));
        let Some(start) = start.filter(|_| frame.len() <= FRAME) else { return false };
        if !self.transmit.put(xdp_desc { addr: place, len, options: 0 }) {
            return false;
        }
        self.free.pop();
        // SAFETY: the bytes are within the memory and this frame's. The kernel reads them only
        // after the descriptor is published, and this process has no reference to them.
        unsafe { std::ptr::copy_nonoverlapping(frame.as_ptr(), start, frame.len()) };
        true
    }

    /// Takes back the places of frames that are sent.
    fn reclaim(&mut self) {
        while let Some(place) = self.completion.take() {
            self.free.push(place);
        }
        self.completion.release();
    }

    /// Hands what is in the ring to the kernel, and tells what became of each descriptor that it
    /// took now, with the frame's length. An error means that the interface is down or gone.
    pub(in crate::port) fn flush(&mut self, fate: &mut dyn FnMut(XskFate, u32)) -> io::Result<()> {
        self.transmit.publish();
        // Kernels before 6.17 move their index only when they have sent all that they had seen.
        let most = STALLS + self.transmit.next().wrapping_sub(self.taken) / BATCH;
        let mut stalls = 0;
        while self.taken != self.transmit.next() && stalls < most {
            let is_asleep = self.transmit.needs_wakeup();
            let result = if is_asleep { self.wake_transmit() } else { Ok(()) };
            let before = self.taken;
            let refused = match result {
                Ok(()) => false,
                Err(error) => match error.raw_os_error() {
                    // The device did not take a frame: the last one that the kernel took. (Kernels
                    // whose index lags behind mean another frame of the same burst.)
                    Some(libc::EBUSY) => true,
                    Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR) => false,
                    _ => return Err(error),
                },
            };
            let consumed = self.transmit.consumed();
            // When the first frame of a call is refused, the kernel moves its index only later.
            let end = if refused && !is_ahead(consumed, before) {
                before.wrapping_add(1)
            } else {
                consumed
            };
            while is_ahead(end, self.taken) {
                let length = self.transmit.written(self.taken).len;
                self.taken = self.taken.wrapping_add(1);
                let is_refused = refused && self.taken == end;
                fate(if is_refused { XskFate::Refused } else { XskFate::Taken }, length);
            }
            stalls = if self.taken == before { stalls + 1 } else { 0 };
            if !is_asleep {
                // The driver is at it already.
                break;
            }
        }
        Ok(())
    }

    /// Lengths of the frames in the ring that the kernel has not taken, oldest first.
    pub(in crate::port) fn untaken(&self) -> impl Iterator<Item = u32> {
        let count = self.transmit.next().wrapping_sub(self.taken);
        (0..count).map(|n| self.transmit.written(self.taken.wrapping_add(n)).len)
    }

    /// Number of frames that were lost since the socket was bound, because nobody fetched those
    /// before them in time or because they were too long; `None` if the kernel does not tell.
    pub(in crate::port) fn lost(&self) -> Option<u64> {
        // SAFETY: the structure is integers: all zeroes is a value of it.
        let mut counts: libc::xdp_statistics = unsafe { std::mem::zeroed() };
        let fd = self.socket.as_fd();
        option(fd, libc::SOL_XDP, libc::XDP_STATISTICS, &mut counts).ok()?;
        // A frame that met an empty fill ring is among those dropped already.
        Some(counts.rx_dropped + counts.rx_ring_full)
    }

    /// The kernel sends what is in the ring: 32 frames at most in copy mode.
    fn wake_transmit(&self) -> io::Result<()> {
        let (fd, nothing) = (self.socket.as_raw_fd(), std::ptr::null());
        // SAFETY: there is no message and no address, and both lengths say so.
        let result = unsafe { libc::sendto(fd, nothing, 0, libc::MSG_DONTWAIT, nothing.cast(), 0) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The driver looks at the fill ring.
    fn wake_receive(&self) {
        let (fd, nothing) = (self.socket.as_raw_fd(), std::ptr::null_mut());
        let none = std::ptr::null_mut();
        // SAFETY: there is no buffer and no address, and the length says so. An error tells
        // nothing that the next call would not.
        unsafe { libc::recvfrom(fd, nothing, 0, libc::MSG_DONTWAIT, none, std::ptr::null_mut()) };
    }
}

impl AsFd for XskQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The place of a frame in the memory.
fn place(frame: u32) -> u64 {
    u64::from(frame) * FRAME as u64
}

/// True if an index is behind another one. Indexes wrap, and are never half the range apart.
fn is_ahead(index: u32, other: u32) -> bool {
    index != other && index.wrapping_sub(other) < 1 << 31
}

/// Makes memory the one that the socket's frames lie in.
fn register(socket: BorrowedFd<'_>, memory: &KernelMapping) -> io::Result<()> {
    let start = memory.at::<u8>(0, memory.len()).ok_or(io::ErrorKind::InvalidInput)?;
    // The first form of the structure, which every kernel with AF_XDP takes.
    let request = libc::xdp_umem_reg_v1 {
        addr: start.addr() as u64,
        len: memory.len() as u64,
        chunk_size: u32::try_from(FRAME).unwrap_or(0),
        headroom: 0,
    };
    let length = size_u32::<libc::xdp_umem_reg_v1>();
    // SAFETY: the pointer is to a structure that lives through the call, with its length. The
    // kernel writes to the memory that it names as the rings allow, for as long as the socket
    // lives; it holds the pages itself.
    let result = unsafe {
        let request = (&raw const request).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_XDP, libc::XDP_UMEM_REG, request, length)
    };
    check(result)
}
