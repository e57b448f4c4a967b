//! The XDP program that hands the frames of an interface to the sockets of its queues. It is
//! assembled here: a compiler for a few instructions would have to come with the project.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::btf;
use crate::port::sys::{self, ProgramKind};

/// The kernel's function that tells the VLAN tag beside a frame.
const TAG_OF_FRAME: &str = "bpf_xdp_metadata_rx_vlan_tag";

/// Helpers of the kernel, by number.
const REDIRECT_MAP: i32 = 51;
const ADJUST_HEAD: i32 = 44;
/// Results of an XDP program.
const DROP: i32 = 1;
const PASS: i32 = 2;

/// Loads the program. A frame of a queue without a socket goes to the kernel's stack.
///
/// With the number of an interface, the program is for that interface alone: it asks the driver
/// for the VLAN tag that may be beside a frame, and puts the tag back into the frame.
pub(super) fn load(map: BorrowedFd<'_>, interface: Option<i32>) -> io::Result<OwnedFd> {
    let mut code = vec![op(MOVE, 6, 1, 0, 0)];
    if interface.is_some() {
        code.extend(put_tag_back(tag_function()?));
    }
    code.extend([
        // The queue's number is at 16 of the context.
        op(LOAD_WORD, 2, 6, 16, 0),
        // A map by its descriptor takes the room of two instructions.
        op(LOAD_LONG, 1, 1, 0, map.as_raw_fd()),
        0,
        op(SET, 3, 0, 0, PASS),
        op(CALL, 0, 0, 0, REDIRECT_MAP),
        op(EXIT, 0, 0, 0, 0),
    ]);
    sys::bpf_load(ProgramKind::XDP, &code, interface)
}

/// The number of the kernel's function that tells a tag.
pub(super) fn tag_function() -> io::Result<u32> {
    let types = std::fs::read("/sys/kernel/btf/vmlinux")?;
    let missing = || io::Error::other(format!("this kernel has no {TAG_OF_FRAME}"));
    btf::function(&types, TAG_OF_FRAME).ok_or_else(missing)
}

/// Puts a tag that is beside the frame behind the frame's addresses. Register 6 has the context,
/// and keeps it.
fn put_tag_back(function: u32) -> [u64; 31] {
    let function = i32::from_ne_bytes(function.to_ne_bytes());
    [
        // On the stack are the tag's type, as on the wire, and its other half, as a number.
        op(STORE_NUMBER, 10, 0, -4, 0),
        op(MOVE, 2, 10, 0, 0),
        op(ADD, 2, 0, 0, -4),
        op(MOVE, 3, 10, 0, 0),
        op(ADD, 3, 0, 0, -2),
        // Source 2 says that this is not a helper.
        op(CALL, 0, 2, 0, function),
        // Without a tag the frame is whole.
        op(SKIP_UNLESS, 0, 0, 23, 0),
        // Room for the tag in front: the addresses move there.
        op(MOVE, 1, 6, 0, 0),
        op(SET, 2, 0, 0, -4),
        op(CALL, 0, 0, 0, ADJUST_HEAD),
        op(SKIP_UNLESS, 0, 0, 17, 0),
        // Start and end of the frame are at 0 and 4 of the context.
        op(LOAD_WORD, 2, 6, 0, 0),
        op(LOAD_WORD, 3, 6, 4, 0),
        op(MOVE, 4, 2, 0, 0),
        op(ADD, 4, 0, 0, 16),
        op(SKIP_IF_ABOVE, 4, 3, 12, 0),
        op(LOAD_WORD, 5, 2, 4, 0),
        op(STORE_WORD, 2, 5, 0, 0),
        op(LOAD_WORD, 5, 2, 8, 0),
        op(STORE_WORD, 2, 5, 4, 0),
        op(LOAD_WORD, 5, 2, 12, 0),
        op(STORE_WORD, 2, 5, 8, 0),
        op(LOAD_HALF, 5, 10, -4, 0),
        op(STORE_HALF, 2, 5, 12, 0),
        op(LOAD_HALF, 5, 10, -2, 0),
        op(TO_BIG_ENDIAN, 5, 0, 0, 16),
        op(STORE_HALF, 2, 5, 14, 0),
        op(SKIP, 0, 0, 2, 0),
        // There is no room for the tag: without it the frame would be another one.
        op(SET, 0, 0, 0, DROP),
        op(EXIT, 0, 0, 0, 0),
        // Here it goes on.
        op(MOVE, 1, 6, 0, 0),
    ]
}

const ADD: u8 = 0x07;
pub(super) const CALL: u8 = 0x85;
pub(super) const EXIT: u8 = 0x95;
const LOAD_HALF: u8 = 0x69;
const LOAD_LONG: u8 = 0x18;
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xbf;
pub(super) const SET: u8 = 0xb7;
const SKIP: u8 = 0x05;
const SKIP_IF_ABOVE: u8 = 0x2d;
const SKIP_UNLESS: u8 = 0x55;
const STORE_HALF: u8 = 0x6b;
const STORE_NUMBER: u8 = 0x62;
const STORE_WORD: u8 = 0x63;
const TO_BIG_ENDIAN: u8 = 0xdc;

/// An instruction: its code, two registers, an offset and a number.
pub(super) fn op(code: u8, to: u8, from: u8, offset: i16, number: i32) -> u64 {
    // The registers are two fields of four bits, whose order is that of the bytes.
    let registers = if cfg!(target_endian = "little") { from << 4 | to } else { to << 4 | from };
    let ([a, b], [c, d, e, f]) = (offset.to_ne_bytes(), number.to_ne_bytes());
    u64::from_ne_bytes([code, registers, a, b, c, d, e, f])
}
