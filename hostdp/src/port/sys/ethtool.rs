//! What the driver of an interface does to frames, by the ethtool requests.

use std::io;
use std::os::fd::BorrowedFd;

use super::interface::ethtool;

const GET_DRIVER: u32 = 0x03;
const GET_FLAGS: u32 = 0x25;
const GET_GRO: u32 = 0x2b;
/// Among the flags: the device takes VLAN tags out of received frames.
const FLAG_RXVLAN: u32 = 1 << 8;

/// `struct ethtool_drvinfo`: the driver's name is at 4, the place on the bus at 100; both are in
/// 32 bytes.
const DRIVER_INFO: usize = 196;

/// The driver's name, and true if there is a device on a bus behind the interface. A kernel that
/// does not tell has no such device.
pub(in crate::port) fn driver_of(socket: BorrowedFd<'_>, name: &str) -> (String, bool) {
    let mut info = [0_u32; DRIVER_INFO / 4];
    info[0] = GET_DRIVER;
    if ethtool(socket, name, &mut info).is_err() {
        return (String::new(), false);
    }
    let bytes: Vec<u8> = info.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let text = |at: usize| {
        let text = bytes.iter().skip(at).take(32).take_while(|byte| **byte != 0);
        String::from_utf8_lossy(&text.copied().collect::<Vec<u8>>()).into_owned()
    };
    let place = text(100);
    (text(4), !place.is_empty() && place != "N/A")
}

/// True if the device takes VLAN tags out of received frames and hands them over beside the frame.
pub(in crate::port) fn strips_tags(socket: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    Ok(value(socket, name, GET_FLAGS)? & FLAG_RXVLAN != 0)
}

/// True if the kernel merges received frames before anybody sees them (GRO).
pub(in crate::port) fn merges_frames(socket: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    Ok(value(socket, name, GET_GRO)? != 0)
}

fn value(socket: BorrowedFd<'_>, name: &str, command: u32) -> io::Result<u32> {
    let mut request = [command, 0];
    ethtool(socket, name, &mut request)?;
    Ok(request[1])
}
