//! A blocking rtnetlink socket: one request, its answers, done.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// The kernel's answer to a request that it refused, or a broken socket.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(#[from] pub io::Error);

impl Failure {
    pub fn is(&self, errno: i32) -> bool {
        self.0.raw_os_error() == Some(errno)
    }

    pub fn is_missing(&self) -> bool {
        self.is(libc::ENODEV) || self.is(libc::ENOENT) || self.is(libc::ESRCH)
    }

    fn malformed(what: impl std::fmt::Display) -> Self {
        Failure(io::Error::new(io::ErrorKind::InvalidData, format!("malformed netlink answer: {what}")))
    }
}

/// Belongs to the network namespace that it was opened in, wherever the thread goes after.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    pub fn open() -> Result<Self, Failure> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Requests take effect as the index says or fail: no silent ignoring of filters in dumps.
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Netlink { socket, sequence: 0 })
    }

    /// A change; `flags` on top of REQUEST and ACK.
    pub fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<(), Failure> {
        self.request(message, NLM_F_REQUEST | NLM_F_ACK | flags).map(|_| ())
    }

    /// One object.
    pub fn get(&mut self, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, Failure> {
        self.request(message, NLM_F_REQUEST | NLM_F_ACK)
    }

    pub fn dump(&mut self, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, Failure> {
        self.request(message, NLM_F_REQUEST | NLM_F_DUMP)
    }

    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<Vec<RouteNetlinkMessage>, Failure> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut buffer = vec![0; packet.buffer_len()];
        packet.serialize(&mut buffer);
        self.socket.send(&buffer, 0)?;
        self.answers()
    }

    /// Every request asks for an acknowledgement or is a dump, so each has an end.
    fn answers(&mut self) -> Result<Vec<RouteNetlinkMessage>, Failure> {
        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(Failure::malformed)?;
                let length = (message.header.length as usize).next_multiple_of(4).min(rest.len());
                if length == 0 {
                    return Err(Failure::malformed("a message without length"));
                }
                rest = &rest[length..];
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(answers),
                    NetlinkPayload::Error(error) => return Err(Failure(error.to_io())),
                    NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                    _ => {}
                }
            }
        }
    }
}
