//! The bytes of protobuf: varints, tags, lengths.

use super::error::Error;

/// What every encoded object starts with.
pub(crate) const MAGIC: &[u8; 4] = b"k8s\0";

pub(crate) const VARINT: u8 = 0;
pub(crate) const FIXED64: u8 = 1;
pub(crate) const LENGTH: u8 = 2;
pub(crate) const FIXED32: u8 = 5;

/// One field of a message as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part<'b> {
    Varint(u64),
    Fixed64(u64),
    Length(&'b [u8]),
    Fixed32(u32),
}

impl Part<'_> {
    pub fn wire_type(self) -> u8 {
        match self {
            Part::Varint(_) => VARINT,
            Part::Fixed64(_) => FIXED64,
            Part::Length(_) => LENGTH,
            Part::Fixed32(_) => FIXED32,
        }
    }
}

/// Walks the fields of one message.
pub(crate) struct Parts<'b> {
    rest: &'b [u8],
}

impl<'b> Parts<'b> {
    pub fn new(message: &'b [u8]) -> Parts<'b> {
        Parts { rest: message }
    }

    /// The next field and its number.
    pub fn next(&mut self) -> Result<Option<(u32, Part<'b>)>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = take_varint(&mut self.rest)?;
        let number = u32::try_from(tag >> 3).map_err(|_| Error::Overflow)?;
        let wire = (tag & 7) as u8;
        let part = match wire {
            VARINT => Part::Varint(take_varint(&mut self.rest)?),
            FIXED64 => Part::Fixed64(u64::from_le_bytes(self.take_array()?)),
            LENGTH => {
                let length = usize::try_from(take_varint(&mut self.rest)?).map_err(|_| Error::Overflow)?;
                Part::Length(self.take(length)?)
            }
            FIXED32 => Part::Fixed32(u32::from_le_bytes(self.take_array()?)),
            other => return Err(Error::WireType(other)),
        };
        Ok(Some((number, part)))
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Error::UnexpectedEnd)?;
        self.rest = rest;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| Error::UnexpectedEnd)
    }
}

pub(crate) fn take_varint(rest: &mut &[u8]) -> Result<u64, Error> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(Error::UnexpectedEnd)?;
        *rest = after;
        if shift == 63 && *byte > 1 {
            return Err(Error::Overflow);
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Error::Overflow)
}

/// A message under construction.
#[derive(Default)]
pub(crate) struct Buffer {
    pub bytes: Vec<u8>,
}

impl Buffer {
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    pub fn tag(&mut self, number: u16, wire: u8) {
        self.varint(u64::from(number) << 3 | u64::from(wire));
    }

    pub fn varint_field(&mut self, number: u16, value: u64) {
        self.tag(number, VARINT);
        self.varint(value);
    }

    pub fn bytes_field(&mut self, number: u16, value: &[u8]) {
        self.tag(number, LENGTH);
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    /// Writes a nested message in place. Its length is known only afterwards: one byte is kept for it, which nearly
    /// all messages of an object fit, and a longer length moves what was written.
    pub fn nested<E>(&mut self, number: u16, write: impl FnOnce(&mut Buffer) -> Result<(), E>) -> Result<(), E> {
        self.tag(number, LENGTH);
        let start = self.bytes.len();
        self.bytes.push(0);
        write(self)?;
        let length = self.bytes.len() - start - 1;
        if length < 0x80 {
            self.bytes[start] = length as u8;
            return Ok(());
        }
        let mut prefix = Buffer::default();
        prefix.varint(length as u64);
        self.bytes.splice(start..=start, prefix.bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_survive(value: u64) {
            let mut buffer = Buffer::default();
            buffer.varint(value);
            prop_assert_eq!(take_varint(&mut buffer.bytes.as_slice()), Ok(value));
        }

        #[test]
        fn nested_lengths_are_right(inner in prop::collection::vec(any::<u8>(), 0..20_000)) {
            let mut buffer = Buffer::default();
            buffer.nested(3, |buffer| {
                buffer.bytes.extend_from_slice(&inner);
                Ok::<_, Error>(())
            })?;
            let mut parts = Parts::new(&buffer.bytes);
            prop_assert_eq!(parts.next()?, Some((3, Part::Length(&inner))));
            prop_assert_eq!(parts.next()?, None);
        }

        #[test]
        fn no_bytes_break_the_walk(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut parts = Parts::new(&bytes);
            while let Ok(Some(_)) = parts.next() {}
        }
    }
}
