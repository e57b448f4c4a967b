//! AF_XDP: the frames of an interface go from the driver into memory of this process, past the
//! kernel's stack.
//!
//! An XDP program hands the frames of each queue of the interface to a socket of its own; all
//! frames to send leave by the first queue. The program goes when these sockets are closed, with
//! the process at the latest.
//!
//! XDP sees the bytes of a frame alone. What the kernel notes beside a frame is lost: a VLAN tag
//! that the device has taken out, a checksum that is still to be made, and that the frame stands
//! for several. So AF_XDP is used only where the frame is whole, or can be made whole (`attach`).

mod btf;
mod program;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use flow::Counters;
use flow::packet::{Packet, Unfinished};
use rustix::event::epoll;

use super::sys::{self, ProgramKind, XSK_FRAME, XskFate, XskQueue};
use super::{Batch, Frame, TxReport};
use crate::drops::DropReason;

/// The sockets of an interface, and the program that feeds them.
pub(super) struct XdpSockets {
    /// By queue; at least one.
    queues: Vec<XskQueue>,
    /// The queue that is asked first at the next receive.
    next: usize,
    /// Readable if one of the sockets is.
    readable: OwnedFd,
    mode: &'static str,
    wholeness: Wholeness,
    /// Frames that the kernel has counted as lost and that were told.
    lost: u64,
    // These hold the program in its place. The kernel counts what uses the map.
    link: Attachment,
    _map: OwnedFd,
}

/// A program in its place, until it is taken off or this value is dropped.
struct Attachment(OwnedFd);

impl Attachment {
    /// What comes in from now on goes its usual way, to a packet socket for example.
    fn end(&self) {
        // An interface that is gone has no program.
        let _ = sys::bpf_detach(self.0.as_fd());
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.end();
    }
}

/// What makes the frames whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wholeness {
    /// The program does, or nobody asks.
    Given,
    /// The device, as long as it does not take tags out.
    OfDevice,
    /// The device, and the kernel as long as it does not merge frames before the generic XDP.
    OfKernel,
}

/// Why an interface can't be used through AF_XDP.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoXdp {
    /// The system refused a step.
    #[error("{what}: {source}")]
    Step { what: &'static str, source: io::Error },
    /// Frames may be longer than the memory for one.
    #[error("the MTU is {mtu}, and AF_XDP takes up to {LONGEST_MTU}")]
    Long { mtu: u32 },
    /// The device takes VLAN tags out of frames.
    #[error("the device takes VLAN tags out of frames: ethtool -K {0} rxvlan off")]
    Tags(String),
    /// The kernel merges frames before XDP sees them.
    #[error("the driver has no XDP, and the kernel merges frames: ethtool -K {0} gro off")]
    Merges(String),
    /// The interface has more queues than there would be sockets.
    #[error("it has more than 64 queues: ethtool -L {0} combined 64")]
    Queues(String),
    /// Frames of local senders come with work left to do, which XDP does not see.
    #[error("frames of this driver can come large, or without their VLAN tags")]
    Software,
}

impl NoXdp {
    /// True if the interface or a queue of it is in use. That may end soon: the kernel lets go of
    /// both some time after the descriptors of a closed port, or of an ended process, are closed.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, NoXdp::Step { source, .. } if source.raw_os_error() == Some(libc::EBUSY))
    }
}

impl From<io::Error> for NoXdp {
    fn from(source: io::Error) -> NoXdp {
        NoXdp::Step { what: "network namespace", source }
    }
}

/// Bytes that a frame may have beyond its interface's MTU: an Ethernet header and two VLAN tags.
const LINK_HEADERS: u32 = 14 + 8;
/// Longest MTU whose frames fit. (`XSK_FRAME` is less than a page.)
#[allow(clippy::cast_possible_truncation, reason = "less than a page")]
const LONGEST_MTU: u32 = XSK_FRAME as u32 - LINK_HEADERS;
/// Most queues of an interface that get a socket. Each takes 16 MiB.
const QUEUES: u32 = 64;
/// `XDP_FLAGS_DRV_MODE`, `XDP_FLAGS_SKB_MODE`.
const DRIVER_MODE: u32 = 1 << 2;
const GENERIC_MODE: u32 = 1 << 1;

impl XdpSockets {
    /// Takes over an interface, which must be up, by its number and its name now. The packet
    /// socket tells the network namespace. With `generic` the generic mode is used, and nobody
    /// checks whether frames come whole.
    pub(super) fn open(
        socket: BorrowedFd<'_>,
        (index, name): (i32, &str),
        mtu: u32,
        generic: bool,
    ) -> Result<XdpSockets, NoXdp> {
        if !fits(mtu) {
            return Err(NoXdp::Long { mtu });
        }
        sys::in_namespace_of(socket, || {
            let map = sys::xsk_map(QUEUES).map_err(step("map"))?;
            let (link, is_generic, wholeness) =
                attach(socket, (index, name), map.as_fd(), generic)?;
            let mut queues: Vec<XskQueue> = Vec::new();
            let readable = epoll::create(epoll::CreateFlags::CLOEXEC);
            let readable = readable.map_err(|e| step("epoll")(e.into()))?;
            for number in 0..QUEUES {
                let queue = XskQueue::open().map_err(|(what, e)| step(what)(e))?;
                match queue.bind(index, number, is_generic) {
                    Ok(()) => {}
                    // The interface has no queue of this number.
                    Err(error) if number > 0 && error.raw_os_error() == Some(libc::EINVAL) => break,
                    Err(error) => return Err(step("bind")(error)),
                }
                sys::xsk_map_set(map.as_fd(), number, queue.as_fd()).map_err(step("map entry"))?;
                let data = epoll::EventData::new_u64(number.into());
                epoll::add(&readable, &queue, data, epoll::EventFlags::IN)
                    .map_err(|e| step("epoll")(e.into()))?;
                queues.push(queue);
            }
            if queues.len() == QUEUES as usize && has_queue(index, QUEUES, is_generic)? {
                return Err(NoXdp::Queues(name.to_owned()));
            }
            let is_zero_copy = queues.iter().all(XskQueue::is_zero_copy);
            let mode = match (is_generic, is_zero_copy) {
                (true, _) => "AF_XDP, generic mode",
                (false, true) => "AF_XDP, driver mode, zero-copy",
                (false, false) => "AF_XDP, driver mode, copy",
            };
            let (next, lost) = (0, 0);
            Ok(XdpSockets { queues, next, readable, mode, wholeness, lost, link, _map: map })
        })
    }

    /// Returns false if frames don't come whole any more, because somebody has changed what the
    /// device does to them. A device that can't be asked has not changed.
    pub(super) fn are_whole(&self, socket: BorrowedFd<'_>, name: &str) -> bool {
        let asked = match self.wholeness {
            Wholeness::Given => Ok(()),
            Wholeness::OfDevice => keeps_tags(socket, name),
            Wholeness::OfKernel => {
                keeps_tags(socket, name).and_then(|()| keeps_apart(socket, name))
            }
        };
        !matches!(asked, Err(NoXdp::Tags(_) | NoXdp::Merges(_)))
    }

    /// Number of queues of the interface.
    pub(super) fn queues(&self) -> usize {
        self.queues.len()
    }

    /// The way that frames take, in words.
    pub(super) fn mode(&self) -> &'static str {
        self.mode
    }

    /// Adds frames that have come in to the batch, as long as the batch has room.
    pub(super) fn receive(&mut self, batch: &mut Batch) {
        // What the kernel left in the ring does not wait until there is more to send.
        self.flush();
        let count = self.queues.len();
        for n in 0..count {
            let Some(queue) = self.queues.get_mut((self.next + n) % count) else { continue };
            queue.receive(batch.room(), &mut |bytes| {
                let mut packet = batch.packet(bytes);
                packet.set_unfinished(Unfinished::seen(packet.bytes()));
                batch.push(Frame::fresh(packet));
            });
        }
        self.next = (self.next + 1) % count.max(1);
    }

    /// Sends the frames in order; reports each. An error means that the interface is down or
    /// gone, and that these sockets must not be used again: frames that were reported as dropped
    /// are still in a ring.
    pub(super) fn transmit(
        &mut self,
        frames: &[Packet],
        mtu: u32,
        report: &mut TxReport,
    ) -> io::Result<()> {
        let Some(queue) = self.queues.first_mut() else { return Ok(()) };
        // Frames of earlier calls that the kernel takes only now were reported then.
        let mut told: usize = queue.untaken().count();
        let mut fate = |fate: XskFate, length: u32, report: &mut TxReport| {
            if told > 0 {
                told -= 1;
                return;
            }
            match fate {
                XskFate::Taken => report.sent(Counters::packet(length as usize)),
                XskFate::Refused => {
                    report.drop(DropReason::TxFull, Counters::packet(length as usize))
                }
            }
        };
        let mut flushed = Ok(());
        let mut is_full = false;
        for frame in frames {
            let bytes = frame.bytes();
            if !super::fits(frame, mtu) {
                report.drop(DropReason::TxTooLong, frame.counters());
            } else if flushed.is_err() {
                report.drop(DropReason::PortDown, frame.counters());
            } else if is_full || !queue.send(bytes) {
                let mut is_sent = false;
                if !is_full {
                    flushed = queue.flush(&mut |what, length| fate(what, length, report));
                    is_sent = flushed.is_ok() && queue.send(bytes);
                }
                is_full = !is_sent;
                if flushed.is_err() {
                    report.drop(DropReason::PortDown, frame.counters());
                } else if is_full {
                    report.drop(DropReason::TxFull, frame.counters());
                }
            }
        }
        if flushed.is_ok() {
            flushed = queue.flush(&mut |what, length| fate(what, length, report));
        }
        for length in queue.untaken().skip(told) {
            match flushed {
                // The kernel takes it with the next call.
                Ok(()) => report.sent(Counters::packet(length as usize)),
                Err(_) => report.drop(DropReason::PortDown, Counters::packet(length as usize)),
            }
        }
        flushed
    }

    /// Lets the kernel take what it left in the ring at the last transmit.
    pub(super) fn flush(&mut self) {
        if let Some(queue) = self.queues.first_mut() {
            // An error is the next transmit's, too.
            let _ = queue.flush(&mut |_, _| {});
        }
    }

    /// Number of frames that were lost since the last call because nobody fetched them in time.
    pub(super) fn overruns(&mut self) -> u64 {
        let lost: Option<u64> = self.queues.iter().map(XskQueue::lost).sum();
        let lost = lost.unwrap_or(self.lost);
        lost - std::mem::replace(&mut self.lost, lost).min(lost)
    }

    /// Takes the program off. Returns the number of frames that are lost when these sockets are
    /// closed, those included that were lost before and not told.
    pub(super) fn end(&mut self) -> u64 {
        self.link.end();
        let waiting: u64 = self.queues.iter_mut().map(|queue| u64::from(queue.waiting())).sum();
        waiting + self.overruns()
    }

    /// A descriptor that is readable while there may be something to receive.
    pub(super) fn readable(&self) -> BorrowedFd<'_> {
        self.readable.as_fd()
    }
}

/// True if frames of an interface with that MTU fit into the memory for one.
pub(super) fn fits(mtu: u32) -> bool {
    mtu <= LONGEST_MTU
}

/// Checks whether AF_XDP works on this host: whether a socket can be opened and the program be
/// loaded, and then whether the program that veth needs can be made.
pub(super) fn probe() -> Result<(), (String, bool)> {
    let tried = || {
        XskQueue::open().map_err(|(what, source)| NoXdp::Step { what, source })?;
        let map = sys::xsk_map(1).map_err(step("map"))?;
        program::load(map.as_fd(), None).map_err(step("program"))
    };
    tried().map_err(|error: NoXdp| (error.to_string(), false))?;
    program::tag_function().map(drop).map_err(|error| (error.to_string(), true))
}

/// Attaches a program that keeps frames whole: in driver mode, or else in generic mode. Returns
/// true with it if it is in generic mode, and what makes the frames whole.
fn attach(
    socket: BorrowedFd<'_>,
    (index, name): (i32, &str),
    map: BorrowedFd<'_>,
    generic: bool,
) -> Result<(Attachment, bool, Wholeness), NoXdp> {
    let in_mode = |mode, program: &OwnedFd| {
        sys::bpf_attach(ProgramKind::XDP, program.as_fd(), index, mode).map(Attachment)
    };
    let plain = || program::load(map, None).map_err(step("program"));
    let in_generic = |wholeness| {
        let link = in_mode(GENERIC_MODE, &plain()?).map_err(step("attach in generic mode"))?;
        Ok((link, true, wholeness))
    };
    if generic {
        return in_generic(Wholeness::Given);
    }
    let (driver, has_device) = sys::driver_of(socket, name);
    // A local sender's VLAN interface leaves the tag beside the frame, whatever this end wants.
    let has_tags_beside = driver == "veth";
    let program = if has_tags_beside {
        program::load(map, Some(index)).map_err(step("program for VLAN tags"))?
    } else if !has_device || driver == "tun" {
        // Local senders again; or another interface's frames, which belong to that one's sockets.
        return Err(NoXdp::Software);
    } else {
        keeps_tags(socket, name)?;
        plain()?
    };
    match in_mode(DRIVER_MODE, &program) {
        Ok(link) if has_tags_beside => Ok((link, false, Wholeness::Given)),
        Ok(link) => Ok((link, false, Wholeness::OfDevice)),
        // Another program is there, or the MTU is too large for the driver: nothing else helps.
        Err(error) if error.raw_os_error() != Some(libc::EOPNOTSUPP) => Err(step("attach")(error)),
        Err(_) if has_tags_beside => Err(NoXdp::Software),
        Err(_) => {
            keeps_apart(socket, name)?;
            in_generic(Wholeness::OfKernel)
        }
    }
}

/// An error if the device takes VLAN tags out of frames.
fn keeps_tags(socket: BorrowedFd<'_>, name: &str) -> Result<(), NoXdp> {
    let strips = sys::strips_tags(socket, name).map_err(step("offload flags"))?;
    if strips { Err(NoXdp::Tags(name.to_owned())) } else { Ok(()) }
}

/// An error if the kernel merges frames.
fn keeps_apart(socket: BorrowedFd<'_>, name: &str) -> Result<(), NoXdp> {
    let merges = sys::merges_frames(socket, name).map_err(step("offload flags"))?;
    if merges { Err(NoXdp::Merges(name.to_owned())) } else { Ok(()) }
}

/// Returns true if the interface has a queue of this number.
fn has_queue(index: i32, number: u32, is_generic: bool) -> Result<bool, NoXdp> {
    let queue = XskQueue::open().map_err(|(what, source)| step(what)(source))?;
    let bound = queue.bind(index, number, is_generic);
    Ok(!bound.is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL)))
}

fn step(what: &'static str) -> impl Fn(io::Error) -> NoXdp {
    move |source| NoXdp::Step { what, source }
}
