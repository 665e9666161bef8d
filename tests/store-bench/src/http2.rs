//! gRPC calls on HTTP/2 with as little as possible, so that the machine is the servers': frames are put together and
//! taken apart in two buffers, headers are encoded once, and many calls share one write and one read.
//!
//! As other clients do, it spells a call's headers out once a connection and names them by their places in the server's
//! table from then on. Headers of answers are not looked at. A call went well if a whole message came before its end: a gRPC server that refuses sends none (gRPC over HTTP/2,
//! "Trailers-Only").

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::{Buf as _, BufMut as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Result;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;
/// The largest window there is, for the connection and for each stream.
const WINDOW: u32 = (1 << 31) - 1;
/// What every connection may send before the server says more.
const FIRST_WINDOW: i64 = 65_535;
/// So much is received before the server is told that it may send more.
const RENEW: u32 = 1 << 30;
/// Frames that are sent are not longer: every server takes these.
const MAX_FRAME: usize = 16_384;
/// A message's flag and length.
const MESSAGE_HEAD: usize = 5;

mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
}

mod flag {
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
}

mod setting {
    pub const ENABLE_PUSH: u16 = 2;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
}

/// The headers of a call, encoded (RFC 7541).
#[derive(Clone)]
pub struct Headers {
    /// Which the server shall remember.
    spelled_out: Rc<[u8]>,
}

/// Those that were spelled out last, by their places: fields of the static table, then the newest of the server's own.
const AGAIN: &[u8] = &[0x83, 0x86, 0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62];

impl Headers {
    pub fn new(address: SocketAddr, path: &str) -> Self {
        let mut block = vec![0x83, 0x86]; // :method POST, :scheme http
        let string = |block: &mut Vec<u8>, text: &str| {
            assert!(text.len() < 127, "a length of one byte");
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        };
        block.push(0x40 | 4); // :path
        string(&mut block, path);
        block.push(0x40 | 1); // :authority
        string(&mut block, &address.to_string());
        block.push(0x40 | 31); // content-type
        string(&mut block, "application/grpc");
        block.push(0x40);
        string(&mut block, "te");
        string(&mut block, "trailers");
        Self { spelled_out: block.into() }
    }
}

/// What came of a call.
pub enum Event {
    /// A message of a stream, with its head of five bytes.
    Message(u32, Vec<u8>),
    /// The call is over.
    Ended(u32),
}

pub struct Connection {
    stream: TcpStream,
    out: BytesMut,
    read: BytesMut,
    next_stream: u32,
    /// The headers that were spelled out last.
    remembered: Option<Rc<[u8]>>,
    /// Bytes of messages that may be sent.
    window: i64,
    /// Frames that wait for it: their bytes of messages, themselves.
    waiting: VecDeque<(usize, BytesMut)>,
    received: u32,
    /// Messages that are not whole yet.
    parts: HashMap<u32, Vec<u8>>,
    events: VecDeque<Event>,
}

fn frame(out: &mut BytesMut, length: usize, kind: u8, flags: u8, stream: u32) {
    out.put_uint(length as u64, 3);
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u32(stream);
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut out = BytesMut::from(PREFACE);
        let settings = [(setting::ENABLE_PUSH, 0), (setting::INITIAL_WINDOW_SIZE, WINDOW)];
        frame(&mut out, settings.len() * 6, kind::SETTINGS, 0, 0);
        for (name, value) in settings {
            out.put_u16(name);
            out.put_u32(value);
        }
        frame(&mut out, 4, kind::WINDOW_UPDATE, 0, 0);
        out.put_u32(WINDOW - FIRST_WINDOW as u32);
        Ok(Self {
            stream,
            out,
            read: BytesMut::with_capacity(1 << 20),
            next_stream: 1,
            remembered: None,
            window: FIRST_WINDOW,
            waiting: VecDeque::new(),
            received: 0,
            parts: HashMap::new(),
            events: VecDeque::new(),
        })
    }

    /// Begins a call with this message, the last one of this side or not; it is sent when something is waited for.
    pub fn begin(&mut self, headers: &Headers, message: &[u8], is_last: bool) -> u32 {
        let id = self.next_stream;
        self.next_stream += 2;
        let is_known = self.remembered.as_ref().is_some_and(|known| Rc::ptr_eq(known, &headers.spelled_out));
        if !is_known {
            self.remembered = Some(headers.spelled_out.clone());
        }
        let block = if is_known { AGAIN } else { &headers.spelled_out };
        let mut call = BytesMut::with_capacity(2 * HEAD + block.len() + message.len());
        frame(&mut call, block.len(), kind::HEADERS, flag::END_HEADERS, id);
        call.extend_from_slice(block);
        let mut parts = message.chunks(MAX_FRAME).peekable();
        while let Some(part) = parts.next() {
            let flags = if is_last && parts.peek().is_none() { flag::END_STREAM } else { 0 };
            frame(&mut call, part.len(), kind::DATA, flags, id);
            call.extend_from_slice(part);
        }
        self.waiting.push_back((message.len(), call));
        self.let_out();
        id
    }

    fn let_out(&mut self) {
        while let Some((bytes, _)) = self.waiting.front()
            && *bytes as i64 <= self.window
            && let Some((bytes, call)) = self.waiting.pop_front()
        {
            self.window -= bytes as i64;
            self.out.extend_from_slice(&call);
        }
    }

    /// The next thing that came; waits for it.
    pub async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            self.turn().await?;
        }
    }

    /// Sends what is to be sent, and takes what comes.
    async fn turn(&mut self) -> Result<()> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).await?;
            self.out.clear();
        }
        if self.stream.read_buf(&mut self.read).await? == 0 {
            return Err("the server closed the connection".into());
        }
        while self.read.len() >= HEAD {
            let length = u32::from_be_bytes([0, self.read[0], self.read[1], self.read[2]]) as usize;
            if self.read.len() < HEAD + length {
                self.read.reserve(HEAD + length);
                break;
            }
            let (kind, flags) = (self.read[3], self.read[4]);
            let stream = u32::from_be_bytes(self.read[5..HEAD].try_into()?) & WINDOW;
            let mut whole = self.read.split_to(HEAD + length);
            whole.advance(HEAD);
            self.take(kind, flags, stream, &whole)?;
        }
        Ok(())
    }

    fn take(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<()> {
        match kind {
            kind::DATA => self.data(stream, payload),
            kind::SETTINGS | kind::PING if flags & flag::ACK != 0 => {}
            kind::SETTINGS => frame(&mut self.out, 0, kind::SETTINGS, flag::ACK, 0),
            kind::PING => {
                frame(&mut self.out, payload.len(), kind::PING, flag::ACK, 0);
                self.out.extend_from_slice(payload);
            }
            kind::WINDOW_UPDATE if stream == 0 => {
                self.window += i64::from(u32::from_be_bytes(payload.try_into()?) & WINDOW);
                self.let_out();
            }
            kind::RST_STREAM => return Err(format!("the server broke off a call: {payload:?}").into()),
            kind::GOAWAY => return Err(format!("the server goes away: {payload:?}").into()),
            _ => {}
        }
        if [kind::DATA, kind::HEADERS].contains(&kind) && flags & flag::END_STREAM != 0 {
            self.parts.remove(&stream);
            self.events.push_back(Event::Ended(stream));
        }
        Ok(())
    }

    fn data(&mut self, stream: u32, payload: &[u8]) {
        self.received += payload.len() as u32;
        if self.received >= RENEW {
            frame(&mut self.out, 4, kind::WINDOW_UPDATE, 0, 0);
            self.out.put_u32(std::mem::take(&mut self.received));
        }
        let part = self.parts.entry(stream).or_default();
        part.extend_from_slice(payload);
        while part.len() >= MESSAGE_HEAD {
            let length = MESSAGE_HEAD + u32::from_be_bytes([part[1], part[2], part[3], part[4]]) as usize;
            if part.len() < length {
                break;
            }
            let rest = part.split_off(length);
            self.events.push_back(Event::Message(stream, std::mem::replace(part, rest)));
        }
    }
}
