//! The name and the addresses of this node.

use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// The host's name, lower case, as the kubelet takes it.
pub fn hostname() -> io::Result<String> {
    let name = nix::unistd::gethostname()?;
    Ok(name.to_string_lossy().trim().to_lowercase())
}

/// The address that the kernel would send from to the world; loopback on a host without a route. Nothing is sent.
pub fn default_ip() -> IpAddr {
    let source = || -> io::Result<IpAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        // Connecting a datagram socket only looks the route up (the address is for documentation, RFC 5737).
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        Ok(socket.local_addr()?.ip())
    };
    source().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}
