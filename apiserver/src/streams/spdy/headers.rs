//! Header blocks: one zlib stream in each direction for the life of a connection.
//!
//! The inflater at hand takes no preset dictionary. A dictionary is nothing but output that was there before, so a
//! stored block with its bytes is inflated first and thrown away; what follows finds it in the window. In the other
//! direction the few headers that a server sends are written as stored blocks: valid zlib, and nothing to compress.

use flate2::{Decompress, FlushDecompress, Status};

use super::{Error, dictionary};

/// A block of headers after decompression.
const LONGEST_BLOCK: usize = 64 * 1024;

pub struct Inflater {
    inner: Option<Decompress>,
    /// The zlib header, until it is whole.
    preamble: Vec<u8>,
}

/// Two bytes of zlib header and four that name the dictionary.
const PREAMBLE: usize = 6;

impl Inflater {
    pub fn new() -> Inflater {
        Inflater { inner: None, preamble: Vec::with_capacity(PREAMBLE) }
    }

    /// The names (lower case) and values of one block.
    pub fn block(&mut self, mut bytes: &[u8]) -> Result<Vec<(String, String)>, Error> {
        let missing = PREAMBLE - self.preamble.len();
        let (head, rest) = bytes.split_at(missing.min(bytes.len()));
        self.preamble.extend_from_slice(head);
        bytes = rest;
        if self.preamble.len() < PREAMBLE {
            return Err(Error::Headers("the first block ends in its preamble"));
        }
        if self.inner.is_none() {
            self.inner = Some(primed(&self.preamble)?);
        }
        let Some(inner) = &mut self.inner else { return Err(Error::Headers("no inflater")) };
        parse(&inflate(inner, bytes)?)
    }
}

fn primed(preamble: &[u8]) -> Result<Decompress, Error> {
    const DEFLATE: u8 = 8;
    const HAS_DICTIONARY: u8 = 0x20;
    let [method, flags, id @ ..] = preamble else { return Err(Error::Headers("no preamble")) };
    if method & 0x0f != DEFLATE || flags & HAS_DICTIONARY == 0 || id != dictionary::ID.to_be_bytes() {
        return Err(Error::Headers("not the zlib stream of SPDY/3"));
    }
    let mut inner = Decompress::new(false);
    let dictionary = dictionary::bytes();
    let mut block = vec![0];
    block.extend_from_slice(&stored_length(dictionary.len()));
    block.extend_from_slice(&dictionary);
    let shown = inflate(&mut inner, &block)?;
    match shown == dictionary {
        true => Ok(inner),
        false => Err(Error::Headers("the dictionary did not go in")),
    }
}

fn stored_length(length: usize) -> [u8; 4] {
    let [low, high] = (length as u16).to_le_bytes();
    [low, high, !low, !high]
}

fn inflate(inner: &mut Decompress, mut bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(1024);
    loop {
        let (read, written) = (inner.total_in(), inner.total_out());
        if out.len() == out.capacity() {
            out.reserve(1024);
        }
        let status = inner.decompress_vec(bytes, &mut out, FlushDecompress::Sync);
        let status = status.map_err(|_| Error::Headers("broken compression"))?;
        if out.len() > LONGEST_BLOCK {
            return Err(Error::Headers("too many headers"));
        }
        let consumed = (inner.total_in() - read) as usize;
        bytes = &bytes[consumed..];
        let stuck = consumed == 0 && inner.total_out() == written;
        let has_room = out.len() < out.capacity();
        if status == Status::StreamEnd || (bytes.is_empty() && has_room) || (stuck && has_room) {
            return Ok(out);
        }
    }
}

fn parse(mut block: &[u8]) -> Result<Vec<(String, String)>, Error> {
    let count = number(&mut block)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = text(&mut block)?;
        headers.push((name.to_ascii_lowercase(), text(&mut block)?));
    }
    Ok(headers)
}

fn number(block: &mut &[u8]) -> Result<usize, Error> {
    let (bytes, rest) = block.split_first_chunk::<4>().ok_or(Error::Headers("a block ends too early"))?;
    *block = rest;
    Ok(u32::from_be_bytes(*bytes) as usize)
}

fn text(block: &mut &[u8]) -> Result<String, Error> {
    let length = number(block)?;
    if length > block.len() {
        return Err(Error::Headers("a block ends too early"));
    }
    let (bytes, rest) = block.split_at(length);
    *block = rest;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// The block without any header; the first of a connection opens the zlib stream.
pub fn empty_block(is_first: bool) -> Vec<u8> {
    const ZLIB: [u8; 2] = [0x78, 0x01];
    const NO_HEADERS: [u8; 4] = [0; 4];
    let mut block = Vec::new();
    if is_first {
        block.extend_from_slice(&ZLIB);
    }
    block.push(0);
    block.extend_from_slice(&stored_length(NO_HEADERS.len()));
    block.extend_from_slice(&NO_HEADERS);
    // an empty stored block, as a flush makes it: the reader learns that there is no more
    block.push(0);
    block.extend_from_slice(&stored_length(0));
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two blocks of one connection as zlib writes them with the dictionary and a flush after each.
    const FIRST: &str =
        "78f9e3c6a7c202253a703a2b294a4dcc851625aca9a0808614cb45e01c6061606100a4398b20d198094ade8c0600000000ffff";
    const SECOND: &str = "c2aa19540e2512d60b000000ffff";

    #[test]
    fn blocks_of_one_connection_share_their_window() {
        let mut inflater = Inflater::new();
        let pairs = |block: &str, inflater: &mut Inflater| inflater.block(&hex::decode(block).unwrap()).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            pairs(FIRST, &mut inflater),
            [pair("streamtype", "error"), pair("port", "8080"), pair("requestid", "0")]
        );
        assert_eq!(
            pairs(SECOND, &mut inflater),
            [pair("streamtype", "data"), pair("port", "8080"), pair("requestid", "0")]
        );
    }

    #[test]
    fn what_is_no_spdy_stream_is_refused() {
        let mut inflater = Inflater::new();
        assert_eq!(inflater.block(b"x"), Err(Error::Headers("the first block ends in its preamble")));
        let mut inflater = Inflater::new();
        assert_eq!(inflater.block(b"GET / HTTP/1.1"), Err(Error::Headers("not the zlib stream of SPDY/3")));
    }

    #[test]
    fn own_blocks_are_plain_zlib() {
        let mut inner = Decompress::new(true);
        assert_eq!(inflate(&mut inner, &empty_block(true)).unwrap(), [0; 4]);
        assert_eq!(inflate(&mut inner, &empty_block(false)).unwrap(), [0; 4]);
    }
}
