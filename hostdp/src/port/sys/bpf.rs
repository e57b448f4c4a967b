//! Programs and maps of the kernel's virtual machine: bpf(2) with what AF_XDP needs of it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::call::{check, size_u32};

const MAP_CREATE: i32 = 0;
const MAP_UPDATE_ELEM: i32 = 2;
const PROG_LOAD: i32 = 5;
const LINK_CREATE: i32 = 28;
const LINK_DETACH: i32 = 34;

const MAP_TYPE_XSKMAP: u32 = 17;
/// The program is for one interface, whose driver it may ask about a frame.
const DEVICE_BOUND_ONLY: u32 = 1 << 6;

/// Words of the argument of bpf(2), a union; each command takes a part of it.
type Argument = [u64; 16];

/// A map from a number below `size` to an AF_XDP socket.
pub(in crate::port) fn xsk_map(size: u32) -> io::Result<OwnedFd> {
    let mut argument = Argument::default();
    argument[0] = pair(MAP_TYPE_XSKMAP, size_u32::<u32>());
    argument[1] = pair(size_u32::<u32>(), size);
    bpf(MAP_CREATE, &mut argument)
}

/// Puts a socket in a map.
pub(in crate::port) fn xsk_map_set(
    map: BorrowedFd<'_>,
    key: u32,
    socket: BorrowedFd<'_>,
) -> io::Result<()> {
    let value = socket.as_raw_fd();
    let mut argument = Argument::default();
    argument[0] = number(map);
    argument[1] = (&raw const key).addr() as u64;
    argument[2] = (&raw const value).addr() as u64;
    // SAFETY: the argument is one of this command; it points to a key and a value of the map's
    // sizes, which live through the call.
    check(unsafe { call(MAP_UPDATE_ELEM, &mut argument) })
}

/// A kind of program, and the place where it is attached.
#[derive(Clone, Copy)]
pub(in crate::port) struct ProgramKind {
    /// `BPF_PROG_TYPE_...`
    pub(in crate::port) kind: u32,
    /// `BPF_...` of the attach types.
    pub(in crate::port) place: u32,
}

impl ProgramKind {
    pub(in crate::port) const XDP: ProgramKind = ProgramKind { kind: 6, place: 37 };
}

/// Loads a program, for one interface if there is a number of one.
pub(in crate::port) fn bpf_load(
    ProgramKind { kind, place }: ProgramKind,
    code: &[u64],
    interface: Option<i32>,
) -> io::Result<OwnedFd> {
    // Functions of the kernel are for programs with this licence.
    let licence = c"Dual MIT/GPL";
    let index = interface.and_then(|index| u32::try_from(index).ok());
    let mut argument = Argument::default();
    argument[0] = pair(kind, u32::try_from(code.len()).unwrap_or(0));
    argument[1] = code.as_ptr().addr() as u64;
    argument[2] = licence.as_ptr().addr() as u64;
    // Behind the log, which nobody reads: the kernel's version, the flags, a name of 16 bytes, the
    // interface and the attach type.
    argument[5] = pair(0, index.map_or(0, |_| DEVICE_BOUND_ONLY));
    argument[8] = pair(index.unwrap_or(0), place);
    bpf(PROG_LOAD, &mut argument)
}

/// Attaches a program to an interface for as long as the descriptor is open. The flags are those
/// of the kind: for XDP `XDP_FLAGS_DRV_MODE`, say.
pub(in crate::port) fn bpf_attach(
    kind: ProgramKind,
    program: BorrowedFd<'_>,
    interface: i32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let interface = u32::try_from(interface).unwrap_or(0);
    let program = u32::try_from(program.as_raw_fd()).unwrap_or(0);
    let mut argument = Argument::default();
    argument[0] = pair(program, interface);
    argument[1] = pair(kind.place, flags);
    bpf(LINK_CREATE, &mut argument)
}

/// Takes an attached program off at once: behind the last close of the descriptor the kernel does
/// so some time later.
pub(in crate::port) fn bpf_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut argument = Argument::default();
    argument[0] = number(link);
    // SAFETY: the argument is one of this command, and points to nothing.
    check(unsafe { call(LINK_DETACH, &mut argument) })
}

/// Makes a call that returns a new descriptor. The argument must be one of the command, with
/// pointers to what lives through the call.
fn bpf(command: i32, argument: &mut Argument) -> io::Result<OwnedFd> {
    // SAFETY: the callers in this file give arguments of the command; what those point to lives
    // through the call, and the kernel only reads it.
    let fd = unsafe { call(command, argument) };
    check(fd)?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
/// The argument must be one of the command, and the pointers in it must be to what the command
/// takes there.
unsafe fn call(command: i32, argument: &mut Argument) -> i32 {
    let size = size_of::<Argument>();
    // SAFETY: the kernel reads and writes at most `size` bytes of the argument; the caller vouches
    // for what it points to.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, argument.as_mut_ptr(), size) };
    i32::try_from(result).unwrap_or(-1)
}

/// Two fields of 32 bits, as they lie in memory.
fn pair(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// A descriptor in a field of 32 bits, before one of padding.
fn number(fd: BorrowedFd<'_>) -> u64 {
    pair(u32::try_from(fd.as_raw_fd()).unwrap_or(0), 0)
}
