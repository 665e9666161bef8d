//! Frames: eight bytes that say what and how long, then the content.

use bytes::{Buf, Bytes, BytesMut};

use super::{Error, headers};

const VERSION: u16 = 3;
const HEAD: usize = 8;
/// The longest frame that is taken. Clients write what one read gave them, some tens of kilobytes.
const LONGEST: usize = 1024 * 1024;
const FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// What a client sends that means something here.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    Open { stream: u32, headers: Vec<(String, String)>, fin: bool },
    Data { stream: u32, data: Bytes, fin: bool },
    Reset { stream: u32 },
    Ping { id: u32 },
    GoAway,
}

/// Cuts a byte stream into frames.
pub struct Reader {
    buffer: BytesMut,
    inflater: headers::Inflater,
}

impl Reader {
    pub fn new() -> Reader {
        Reader { buffer: BytesMut::new(), inflater: headers::Inflater::new() }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame; None until more bytes come. Frames without meaning here are passed over.
    pub fn next(&mut self) -> Result<Option<Frame>, Error> {
        while self.buffer.len() >= HEAD {
            let length = u32::from_be_bytes([0, self.buffer[5], self.buffer[6], self.buffer[7]]) as usize;
            if length > LONGEST {
                return Err(Error::TooLong(length));
            }
            if self.buffer.len() < HEAD + length {
                return Ok(None);
            }
            let mut head = self.buffer.split_to(HEAD);
            let content = self.buffer.split_to(length).freeze();
            let first = head.get_u32();
            let flags = head.get_u8();
            let frame = match first >> 31 {
                0 => Some(Frame::Data { stream: first, data: content, fin: flags & FIN != 0 }),
                _ => self.control((first >> 16) as u16 & 0x7fff, first as u16, flags, content)?,
            };
            if frame.is_some() {
                return Ok(frame);
            }
        }
        Ok(None)
    }

    fn control(&mut self, version: u16, kind: u16, flags: u8, mut content: Bytes) -> Result<Option<Frame>, Error> {
        if version != VERSION {
            return Err(Error::Version(version));
        }
        let long_enough = |bytes: usize, content: &Bytes, name| match content.len() >= bytes {
            true => Ok(()),
            false => Err(Error::TooShort(name)),
        };
        Ok(match kind {
            SYN_STREAM => {
                long_enough(10, &content, "SYN_STREAM")?;
                let stream = content.get_u32() & 0x7fff_ffff;
                content.advance(6);
                Some(Frame::Open { stream, headers: self.inflater.block(&content)?, fin: flags & FIN != 0 })
            }
            RST_STREAM => {
                long_enough(8, &content, "RST_STREAM")?;
                Some(Frame::Reset { stream: content.get_u32() & 0x7fff_ffff })
            }
            PING => {
                long_enough(4, &content, "PING")?;
                Some(Frame::Ping { id: content.get_u32() })
            }
            GOAWAY => Some(Frame::GoAway),
            // these share the compression's window, so they must be read even where nobody asks
            SYN_REPLY | HEADERS => {
                long_enough(4, &content, "HEADERS")?;
                content.advance(4);
                self.inflater.block(&content)?;
                None
            }
            _ => None,
        })
    }
}

fn control(kind: u16, flags: u8, content: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(HEAD + content.len());
    frame.extend_from_slice(&(0x8000 | VERSION).to_be_bytes());
    frame.extend_from_slice(&kind.to_be_bytes());
    frame.extend_from_slice(&((u32::from(flags) << 24) | content.len() as u32).to_be_bytes());
    frame.extend_from_slice(content);
    frame.into()
}

/// Accepts a stream; the first reply of a connection opens the compression.
pub fn reply(stream: u32, is_first: bool) -> Bytes {
    let mut content = stream.to_be_bytes().to_vec();
    content.extend_from_slice(&headers::empty_block(is_first));
    control(SYN_REPLY, 0, &content)
}

pub fn data(stream: u32, data: &[u8], fin: bool) -> Bytes {
    let mut frame = Vec::with_capacity(HEAD + data.len());
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(&((u32::from(u8::from(fin)) << 24) | data.len() as u32).to_be_bytes());
    frame.extend_from_slice(data);
    frame.into()
}

/// No more data on this stream.
pub fn fin(stream: u32) -> Bytes {
    data(stream, &[], true)
}

pub fn pong(id: u32) -> Bytes {
    control(PING, 0, &id.to_be_bytes())
}

/// Refuses or ends a stream: status 5, CANCEL, or 1, PROTOCOL_ERROR.
pub fn reset(stream: u32, status: u32) -> Bytes {
    control(RST_STREAM, 0, &[stream.to_be_bytes(), status.to_be_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_from_any_pieces() {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&data(3, b"hello", false));
        bytes.extend_from_slice(&pong(7));
        bytes.extend_from_slice(&control(4, 0, &[0; 4]));
        bytes.extend_from_slice(&reset(3, 5));
        bytes.extend_from_slice(&control(GOAWAY, 0, &[0; 8]));
        let mut reader = Reader::new();
        let mut frames = Vec::new();
        for piece in bytes.chunks(3) {
            reader.push(piece);
            while let Some(frame) = reader.next().unwrap() {
                frames.push(frame);
            }
        }
        assert_eq!(
            frames,
            [
                Frame::Data { stream: 3, data: Bytes::from_static(b"hello"), fin: false },
                Frame::Ping { id: 7 },
                Frame::Reset { stream: 3 },
                Frame::GoAway,
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let read = |bytes: &[u8]| {
            let mut reader = Reader::new();
            reader.push(bytes);
            reader.next()
        };
        assert_eq!(read(&[0, 0, 0, 1, 0, 0xff, 0xff, 0xff]), Err(Error::TooLong(0xff_ffff)));
        assert_eq!(read(&[0x80, 9, 0, 6, 0, 0, 0, 0]), Err(Error::Version(9)));
        assert_eq!(read(&control(PING, 0, &[0])), Err(Error::TooShort("PING")));
        assert_eq!(read(&[0, 0, 0]), Ok(None));
    }
}
