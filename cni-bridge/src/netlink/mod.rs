//! Links, addresses, routes and neighbours, by rtnetlink on a blocking socket.

mod addresses;
mod links;
mod neighbours;
mod routes;
mod socket;

pub use links::{Link, PortOptions, VethPair};
pub use socket::{Failure, Netlink};
