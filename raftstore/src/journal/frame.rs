//! How segments and frames look on the disk. Pure.
//!
//! ```text
//! segment  magic: 8 | format: 4 | salt: 4 | sequence of its first frame: 8 | CRC-32 of these: 4 | zero: 4 | frames
//! frame    magic: 4 | length of the payload: 4 | sequence: 8 | CRC-32: 4 | zero: 4 | payload | zeroes up to 8
//! ```
//! Numbers are little-endian. A frame's checksum begins with the segment's salt, which is random: neither what a file held
//! before it was used again nor bytes that a client put into a value can pass for a frame.

use crc32fast::Hasher;

pub const SEGMENT_HEADER: usize = 32;
pub const FRAME_HEADER: usize = 24;
pub const ALIGNMENT: usize = 8;
/// Longer ones are never written: a length beyond it is damage.
pub const MAX_PAYLOAD: usize = 64 << 20;

const SEGMENT_MAGIC: [u8; 8] = *b"KEELSLOG";
const SEGMENT_FORMAT: u32 = 1;
const FRAME_MAGIC: u32 = 0x4b46_524d;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub salt: u32,
    pub first_sequence: u64,
}

/// What the first bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentStart {
    /// The file was made and never written; it may not even have got its length.
    Unwritten,
    Header(SegmentHeader),
    Damaged,
}

impl SegmentHeader {
    pub fn encode(self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&SEGMENT_FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.salt.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_sequence.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..24]);
        bytes[24..28].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub fn parse(bytes: &[u8]) -> SegmentStart {
        let start = bytes.get(..SEGMENT_HEADER).unwrap_or(bytes);
        if start.iter().all(|byte| *byte == 0) {
            return SegmentStart::Unwritten;
        }
        let Some(bytes) = bytes.get(..SEGMENT_HEADER) else { return SegmentStart::Damaged };
        let checksum = crc32fast::hash(&bytes[..24]);
        if bytes[..8] != SEGMENT_MAGIC || number(bytes, 8) != SEGMENT_FORMAT || number(bytes, 24) != checksum {
            return SegmentStart::Damaged;
        }
        SegmentStart::Header(Self { salt: number(bytes, 12), first_sequence: long_number(bytes, 16) })
    }
}

/// A frame that was found whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub sequence: u64,
    /// Bytes of the payload, which begins [`FRAME_HEADER`] behind the frame's beginning.
    pub length: usize,
}

impl Found {
    /// Bytes from this frame's beginning to the next one's.
    pub fn size(self) -> usize {
        frame_size(self.length)
    }
}

/// Bytes on the disk of a frame with such a payload.
pub fn frame_size(payload: usize) -> usize {
    (FRAME_HEADER + payload).next_multiple_of(ALIGNMENT)
}

/// Makes a frame around the payload that stands in `buffer` from `start + FRAME_HEADER` to its end.
pub fn close(buffer: &mut Vec<u8>, start: usize, salt: u32, sequence: u64) {
    let length = (buffer.len() - start - FRAME_HEADER) as u32;
    let checksum = checksum(salt, length, sequence, &buffer[start + FRAME_HEADER..]);
    let header = &mut buffer[start..start + FRAME_HEADER];
    header[..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
    header[4..8].copy_from_slice(&length.to_le_bytes());
    header[8..16].copy_from_slice(&sequence.to_le_bytes());
    header[16..20].copy_from_slice(&checksum.to_le_bytes());
    header[20..24].fill(0);
    let padded = start + frame_size(length as usize);
    buffer.resize(padded, 0);
}

/// The frame that begins where `bytes` do, if one does and all of it is there.
pub fn parse(bytes: &[u8], salt: u32) -> Option<Found> {
    let header = bytes.get(..FRAME_HEADER)?;
    let length = number(header, 4) as usize;
    if number(header, 0) != FRAME_MAGIC || length > MAX_PAYLOAD {
        return None;
    }
    let payload = bytes.get(FRAME_HEADER..FRAME_HEADER + length)?;
    let sequence = long_number(header, 8);
    (number(header, 16) == checksum(salt, length as u32, sequence, payload)).then_some(Found { sequence, length })
}

fn checksum(salt: u32, length: u32, sequence: u64, payload: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(&length.to_le_bytes());
    hasher.update(&sequence.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|offset| bytes[at + offset]))
}

fn long_number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|offset| bytes[at + offset]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8], salt: u32, sequence: u64) -> Vec<u8> {
        let mut buffer = vec![0; FRAME_HEADER];
        buffer.extend_from_slice(payload);
        close(&mut buffer, 0, salt, sequence);
        buffer
    }

    #[test]
    fn a_frame_comes_back_only_as_it_was_written() {
        let good = frame(b"payload", 7, 42);
        assert_eq!(good.len(), 32);
        assert_eq!(parse(&good, 7), Some(Found { sequence: 42, length: 7 }));
        assert_eq!(parse(&good, 8), None, "another salt");
        for cut in 0..FRAME_HEADER + 7 {
            assert_eq!(parse(&good[..cut], 7), None, "cut at {cut}");
        }
        // The padding and the header's last bytes are nobody's.
        for at in (0..20).chain(FRAME_HEADER..FRAME_HEADER + 7) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(parse(&bad, 7), None, "a flipped bit at {at}");
        }
    }

    #[test]
    fn a_segment_says_what_it_is() {
        let header = SegmentHeader { salt: 9, first_sequence: 77 };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::parse(&bytes), SegmentStart::Header(header));
        assert_eq!(SegmentHeader::parse(&[0; SEGMENT_HEADER]), SegmentStart::Unwritten);
        assert_eq!(SegmentHeader::parse(&bytes[..31]), SegmentStart::Damaged);
        for at in 0..28 {
            let mut bad = bytes;
            bad[at] ^= 1;
            assert_eq!(SegmentHeader::parse(&bad), SegmentStart::Damaged, "a flipped bit at {at}");
        }
    }
}
