//! Many connections that one thread serves, with nothing between it and the kernel but TLS.
//!
//! A hundred watchers share two processors with the server that they measure: what a runtime costs for each of them is
//! a part of every delivery. So their sockets wait together, and an answer is looked at where it was decrypted.

use std::io::{self, BufRead as _, Read, Write as _};
use std::time::{Duration, Instant};

use http::Method;
use keelson_tests::harness::Result;
use mio::{Events, Interest, Poll, Token};
use tokio_rustls::rustls::ClientConnection;

use crate::connection::Server;
use crate::plain::{END_OF_HEAD, find, head, succeeded};

pub struct Wires {
    poll: Poll,
    events: Events,
    wires: Vec<Wire>,
}

/// Which of the connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Place(usize);

struct Wire {
    socket: mio::net::TcpStream,
    tls: ClientConnection,
    /// What has come and is not done with.
    pending: Vec<u8>,
}

/// Reads, and notes whether there was less than room for it: then nothing is left, and the kernel tells when more comes.
struct Drained<'a> {
    socket: &'a mut mio::net::TcpStream,
    is_drained: bool,
}

impl Read for Drained<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.socket.read(buffer)?;
        self.is_drained = length < buffer.len();
        Ok(length)
    }
}

impl Wires {
    pub fn new(most: usize) -> Result<Self> {
        Ok(Self { poll: Poll::new()?, events: Events::with_capacity(most), wires: Vec::new() })
    }

    /// Opens another one, and waits until it may be used.
    pub fn open(&mut self, server: &Server) -> Result<Place> {
        let (mut tls, mut socket) = server.plain_stream()?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        // Of what came behind the handshake.
        let mut pending = Vec::new();
        take(&mut tls, &mut pending)?;
        socket.set_nonblocking(true)?;
        let mut socket = mio::net::TcpStream::from_std(socket);
        let place = Place(self.wires.len());
        self.poll.registry().register(&mut socket, Token(place.0), Interest::READABLE)?;
        self.wires.push(Wire { socket, tls, pending });
        Ok(place)
    }

    /// Sends a request; what came before is forgotten. Requests are small: there is always room for one.
    pub fn send(&mut self, place: Place, method: &Method, path: &str, body: &[u8]) -> Result<()> {
        let wire = &mut self.wires[place.0];
        wire.pending.clear();
        let mut request = head(method, path, body.len()).into_bytes();
        request.extend_from_slice(body);
        wire.tls.writer().write_all(&request)?;
        while wire.tls.wants_write() {
            wire.tls.write_tls(&mut wire.socket)?;
        }
        Ok(())
    }

    /// Waits for what comes until `until` at the latest; calls `look` with all that has come on a connection and is not
    /// done with, which says how many bytes of it are done with.
    pub fn wait(&mut self, until: Instant, mut look: impl FnMut(Place, &[u8]) -> Result<usize>) -> Result<()> {
        // The kernel counts in milliseconds, and rounds up.
        let patience = until.saturating_duration_since(Instant::now());
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &self.events {
            let place = Place(event.token().0);
            let wire = &mut self.wires[place.0];
            wire.read()?;
            let done = look(place, &wire.pending)?;
            wire.pending.drain(..done);
        }
        Ok(())
    }

    /// Waits for an answer's head, and for nothing else. It is to be a success.
    pub fn succeed(&mut self, place: Place, patience: Duration) -> Result<()> {
        let until = Instant::now() + patience;
        let mut answered = false;
        while !answered {
            if Instant::now() > until {
                return Err("the server does not answer".into());
            }
            self.wait(until, |at, bytes| {
                if at != place || find(bytes, END_OF_HEAD).is_none() {
                    return Ok(0);
                }
                answered = true;
                succeeded(bytes)?;
                Ok(0)
            })?;
        }
        Ok(())
    }
}

impl Wire {
    fn read(&mut self) -> Result<()> {
        loop {
            let mut source = Drained { socket: &mut self.socket, is_drained: false };
            match self.tls.read_tls(&mut source) {
                Ok(0) => return Err("the server ended the connection".into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            let is_drained = source.is_drained;
            self.tls.process_new_packets()?;
            take(&mut self.tls, &mut self.pending)?;
            if is_drained {
                return Ok(());
            }
        }
    }
}

/// Moves what is decrypted.
fn take(tls: &mut ClientConnection, into: &mut Vec<u8>) -> Result<()> {
    let mut reader = tls.reader();
    loop {
        let length = match reader.fill_buf() {
            Ok([]) => return Err("the server ended the connection".into()),
            Ok(bytes) => {
                into.extend_from_slice(bytes);
                bytes.len()
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        reader.consume(length);
    }
}
