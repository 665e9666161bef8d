//! The doors of a member: etcd's v3 API and the pipeline for clients, the raft transport for the other members.

mod body;
mod cluster;
mod connection;
mod keep_alive;
mod kv;
mod lanes;
mod lease;
mod listen;
mod maintenance;
mod pipeline;
mod requests;
mod services;
mod serving;
mod socket;
mod watch;

pub use body::Incoming;
pub use lanes::Lanes;
pub use listen::{Door, DoorTls, listen};
pub use requests::Requests;
pub use services::Services;
pub use serving::{Answer, Answers};
pub use socket::Place;
