//! nf_tables messages, byte by byte: a batch to write, and a dump of rules to read.
//!
//! The numbers are those of linux/netfilter/nf_tables.h and nfnetlink.h.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
pub const NEW_TABLE: u16 = 0;
pub const NEW_CHAIN: u16 = 3;
pub const NEW_RULE: u16 = 6;
const GET_RULE: u16 = 7;
pub const DELETE_RULE: u16 = 8;

const FLAG_REQUEST: u16 = 0x1;
const FLAG_ACK: u16 = 0x4;
const FLAG_DUMP: u16 = 0x300;
pub const FLAG_CREATE: u16 = 0x400;
pub const FLAG_APPEND: u16 = 0x800;

const NESTED: u16 = 0x8000;
const HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;
const TYPE_ERROR: u16 = 2;
const TYPE_DONE: u16 = 3;

/// Attributes of one message, or of one nested attribute.
#[derive(Clone, Debug, Default)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    pub fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend(((value.len() + 4) as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// nf_tables numbers are big-endian.
    pub fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub fn nested(self, kind: u16, value: Attributes) -> Self {
        self.bytes(kind | NESTED, &value.0)
    }
}

/// Messages that take effect together or not at all.
#[derive(Default)]
pub struct Batch {
    messages: Vec<(u16, u8, u16, Attributes)>,
}

impl Batch {
    pub fn push(&mut self, kind: u16, family: u8, flags: u16, attributes: Attributes) {
        self.messages.push((kind, family, flags, attributes));
    }

    fn encode(&self) -> (Vec<u8>, u32) {
        let mut buffer = Vec::new();
        let mut sequence = 1;
        write_message(&mut buffer, BATCH_BEGIN, FLAG_REQUEST, sequence, 0, SUBSYSTEM.to_be(), &Attributes::default());
        let last = self.messages.len().saturating_sub(1);
        for (index, (kind, family, flags, attributes)) in self.messages.iter().enumerate() {
            sequence += 1;
            // Refusals are always reported; the last message's acknowledgement says that all went well.
            let flags = flags | FLAG_REQUEST | if index == last { FLAG_ACK } else { 0 };
            write_message(&mut buffer, SUBSYSTEM << 8 | kind, flags, sequence, *family, 0, attributes);
        }
        write_message(&mut buffer, BATCH_END, FLAG_REQUEST, sequence + 1, 0, SUBSYSTEM.to_be(), &Attributes::default());
        (buffer, sequence)
    }

    pub fn commit(&self) -> io::Result<()> {
        let socket = open()?;
        let (buffer, last) = self.encode();
        socket.send(&buffer, 0)?;
        loop {
            let (datagram, _) = socket.recv_from_full()?;
            for message in messages(&datagram) {
                if message.kind != TYPE_ERROR {
                    continue;
                }
                match message.error()? {
                    0 if message.sequence == last => return Ok(()),
                    0 => {}
                    code => return Err(io::Error::from_raw_os_error(-code)),
                }
            }
        }
    }
}

/// The user data of each rule of a chain; none where there is no such chain.
pub fn rule_user_data(family: u8, table: &str, chain: &str) -> io::Result<Vec<Vec<u8>>> {
    const RULE_TABLE: u16 = 1;
    const RULE_CHAIN: u16 = 2;
    const RULE_USER_DATA: u16 = 7;

    let socket = open()?;
    let attributes = Attributes::default().text(RULE_TABLE, table).text(RULE_CHAIN, chain);
    let mut buffer = Vec::new();
    write_message(&mut buffer, SUBSYSTEM << 8 | GET_RULE, FLAG_REQUEST | FLAG_DUMP, 1, family, 0, &attributes);
    socket.send(&buffer, 0)?;

    let mut found = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        for message in messages(&datagram) {
            match message.kind {
                TYPE_DONE => return Ok(found),
                TYPE_ERROR => match message.error()? {
                    code if code == -libc::ENOENT => return Ok(Vec::new()),
                    0 => {}
                    code => return Err(io::Error::from_raw_os_error(-code)),
                },
                _ => {
                    let attributes = message.payload.get(GENERIC_HEADER..).unwrap_or_default();
                    let data = attribute(attributes, RULE_USER_DATA).unwrap_or_default();
                    found.push(data.to_vec());
                }
            }
        }
    }
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

fn write_message(
    buffer: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    family: u8,
    resource: u16,
    attributes: &Attributes,
) {
    let length = (HEADER + GENERIC_HEADER + attributes.0.len()) as u32;
    buffer.extend(length.to_ne_bytes());
    buffer.extend(kind.to_ne_bytes());
    buffer.extend(flags.to_ne_bytes());
    buffer.extend(sequence.to_ne_bytes());
    buffer.extend(0u32.to_ne_bytes());
    buffer.extend([family, 0]);
    buffer.extend(resource.to_ne_bytes());
    buffer.extend(&attributes.0);
}

struct Received<'a> {
    kind: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl Received<'_> {
    fn error(&self) -> io::Result<i32> {
        let code = self.payload.first_chunk::<4>().ok_or(io::ErrorKind::InvalidData)?;
        Ok(i32::from_ne_bytes(*code))
    }
}

fn messages(datagram: &[u8]) -> impl Iterator<Item = Received<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let header = rest.first_chunk::<HEADER>()?;
        let number = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let length = number(0) as usize;
        let message = Received {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            sequence: number(8),
            payload: rest.get(HEADER..length)?,
        };
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

fn attribute(mut rest: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let header = rest.first_chunk::<4>()?;
        let length = u16::from_ne_bytes([header[0], header[1]]) as usize;
        let kind = u16::from_ne_bytes([header[2], header[3]]) & !NESTED;
        let value = rest.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_aligned_and_found_again() {
        let attributes = Attributes::default().text(1, "ab").number(2, 7).nested(3, Attributes::default().text(1, "x"));
        assert_eq!(attributes.0.len() % 4, 0);
        assert_eq!(attribute(&attributes.0, 1), Some(&b"ab\0"[..]));
        assert_eq!(attribute(&attributes.0, 2), Some(&[0, 0, 0, 7][..]));
        assert_eq!(attribute(attribute(&attributes.0, 3).expect("nested"), 1), Some(&b"x\0"[..]));
        assert_eq!(attribute(&attributes.0, 9), None);
        assert_eq!(attribute(&attributes.0[..3], 1), None);
    }

    #[test]
    fn a_cut_datagram_ends_the_walk() {
        let mut batch = Batch::default();
        batch.push(NEW_TABLE, 2, FLAG_CREATE, Attributes::default().text(1, "t"));
        let (buffer, last) = batch.encode();
        let sequences: Vec<u32> = messages(&buffer).map(|message| message.sequence).collect();
        assert_eq!((sequences, last), (vec![1, 2, 3], 2));
        assert_eq!(messages(&buffer[..buffer.len() - 1]).count(), 2);
    }
}
