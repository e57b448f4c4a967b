//! The classic capture format: a header of 24 bytes, then records of 16 bytes and a frame. Captures
//! are read in either byte order, with microseconds or nanoseconds; they are written in the
//! machine's byte order with nanoseconds.
//! Source: the manual page pcap-savefile(5).

use std::io::{self, Read, Write};

/// Why a capture can't be read.
#[derive(Debug, thiserror::Error)]
pub enum PcapError {
    /// Reading failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file has no bytes.
    #[error("the file is empty")]
    Empty,
    /// The file ends within its header.
    #[error("the file ends after {0} bytes, in the middle of its header of {HEADER}")]
    CutHeader(usize),
    /// The newer format of captures.
    #[error("a pcapng file; only pcap is read: convert it with editcap -F pcap IN OUT")]
    PcapNg,
    /// The file is compressed; by which program, and the program that unpacks it.
    #[error("compressed by {0}: unpack it first with {1}")]
    Compressed(&'static str, &'static str),
    /// The first bytes are those of no capture.
    #[error("not a pcap file: it begins with {0:#010x}")]
    Magic(u32),
    /// A version of the format other than 2.4.
    #[error("version {0}.{1} of the pcap format; only 2.4 is supported")]
    Version(u16, u16),
    /// Frames of another link layer.
    #[error("link type {0}; only Ethernet (1) is supported")]
    LinkType(u32),
    /// A record that is longer than records of captures can be.
    #[error("record {record}: {length} bytes, more than {MAX_FRAME}")]
    Length {
        /// The number of the record, from 1.
        record: u64,
        /// The length that the record's header says.
        length: u32,
    },
    /// A record without bytes. Packets have bytes, so the file is damaged or was padded with zeros.
    #[error("record {0}: a packet of 0 bytes")]
    Hollow(u64),
    /// The file ends within a record or its header.
    #[error("record {0}: the file ends in the middle of the record")]
    Cut(u64),
}

impl From<PcapError> for io::Error {
    fn from(error: PcapError) -> io::Error {
        match error {
            PcapError::Io(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        }
    }
}

/// libpcap's own bound, `MAXIMUM_SNAPLEN`.
const MAX_FRAME: u32 = 262_144;
/// Bytes of the file's header.
const HEADER: usize = 24;
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
const ETHERNET: u32 = 1;
/// The first block of a pcapng file, the same in either byte order.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// Compressed files: their first bytes, the program that compresses, and the one that unpacks.
const PACKED: [(&[u8], &str, &str); 4] = [
    (&[0x1f, 0x8b], "gzip", "gunzip"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd", "unzstd"),
    (&[0xfd, b'7', b'z', b'X', b'Z'], "xz", "unxz"),
    (b"BZh", "bzip2", "bunzip2"),
];

/// One captured frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Nanoseconds since the epoch of the capture.
    pub time: u64,
    /// Length of the frame on the wire in bytes; more than `frame` has if the capture cut it.
    pub original_len: u32,
    /// The frame, without FCS.
    pub frame: Vec<u8>,
}

/// Reads a capture record by record.
pub struct PcapReader<R> {
    input: R,
    is_big_endian: bool,
    /// Length in nanoseconds of the unit of the records' fractions of a second.
    unit: u64,
    records: u64,
}

impl<R: Read> PcapReader<R> {
    /// Reads the file's header.
    pub fn new(mut input: R) -> Result<PcapReader<R>, PcapError> {
        let mut header = [0; HEADER];
        let length = read_fully(&mut input, &mut header)?;
        if length == 0 {
            return Err(PcapError::Empty);
        }
        if header.starts_with(&PCAPNG) {
            return Err(PcapError::PcapNg);
        }
        if let Some((_, packer, undo)) = PACKED.iter().find(|(begin, ..)| header.starts_with(begin))
        {
            return Err(PcapError::Compressed(packer, undo));
        }
        let magic = u32_at(&header, 0, false);
        let (is_big_endian, unit) = match (magic, magic.swap_bytes()) {
            (MICROSECONDS, _) => (false, 1000),
            (NANOSECONDS, _) => (false, 1),
            (_, MICROSECONDS) => (true, 1000),
            (_, NANOSECONDS) => (true, 1),
            _ if length < 4 => return Err(PcapError::CutHeader(length)),
            _ => return Err(PcapError::Magic(magic.swap_bytes())),
        };
        if length < HEADER {
            return Err(PcapError::CutHeader(length));
        }
        let half = |at: usize| match is_big_endian {
            true => u16::from_be_bytes([header[at], header[at + 1]]),
            false => u16::from_le_bytes([header[at], header[at + 1]]),
        };
        let (major, minor) = (half(4), half(6));
        if (major, minor) != (2, 4) {
            return Err(PcapError::Version(major, minor));
        }
        // The high bits tell of an FCS.
        let link = u32_at(&header, 20, is_big_endian) & 0xffff;
        if link != ETHERNET {
            return Err(PcapError::LinkType(link));
        }
        Ok(PcapReader { input, is_big_endian, unit, records: 0 })
    }

    /// The next record, or `None` at the end.
    pub fn next_record(&mut self) -> Result<Option<Record>, PcapError> {
        let mut header = [0; 16];
        let length = read_fully(&mut self.input, &mut header)?;
        if length == 0 {
            return Ok(None);
        }
        self.records += 1;
        if length < header.len() {
            return Err(PcapError::Cut(self.records));
        }
        let word = |n: usize| u32_at(&header, n * 4, self.is_big_endian);
        let (length, original_len) = (word(2), word(3));
        if length > MAX_FRAME {
            return Err(PcapError::Length { record: self.records, length });
        }
        if original_len == 0 {
            return Err(PcapError::Hollow(self.records));
        }
        let mut frame = vec![0; length as usize];
        if read_fully(&mut self.input, &mut frame)? < frame.len() {
            return Err(PcapError::Cut(self.records));
        }
        let time = u64::from(word(0)) * 1_000_000_000 + u64::from(word(1)) * self.unit;
        Ok(Some(Record { time, original_len, frame }))
    }
}

impl<R: Read> Iterator for PcapReader<R> {
    type Item = Result<Record, PcapError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_record().transpose()
    }
}

/// Fills the buffer, unless the input ends before; returns the number of bytes read.
fn read_fully(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match input.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

fn u32_at(bytes: &[u8], at: usize, is_big_endian: bool) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    if is_big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
}

/// Writes a capture record by record.
pub struct PcapWriter<W: Write> {
    output: W,
}

impl<W: Write> PcapWriter<W> {
    /// Writes the file's header.
    pub fn new(mut output: W) -> io::Result<PcapWriter<W>> {
        let mut header = Vec::with_capacity(24);
        header.extend(NANOSECONDS.to_le_bytes());
        header.extend([2, 0, 4, 0]);
        header.extend([0; 8]);
        header.extend(MAX_FRAME.to_le_bytes());
        header.extend(ETHERNET.to_le_bytes());
        output.write_all(&header)?;
        Ok(PcapWriter { output })
    }

    /// Adds a whole frame that is not empty; `time` in nanoseconds since the epoch of the capture.
    pub fn write(&mut self, time: u64, frame: &[u8]) -> io::Result<()> {
        let too_large = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let length = u32::try_from(frame.len()).map_err(too_large)?;
        if length == 0 || length > MAX_FRAME {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let seconds = u32::try_from(time / 1_000_000_000).map_err(too_large)?;
        let fraction = u32::try_from(time % 1_000_000_000).map_err(too_large)?;
        for word in [seconds, fraction, length, length] {
            self.output.write_all(&word.to_le_bytes())?;
        }
        self.output.write_all(frame)
    }

    /// Hands everything to the system.
    pub fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }

    /// The output, everything written.
    pub fn into_inner(mut self) -> io::Result<W> {
        self.output.flush()?;
        Ok(self.output)
    }
}
