//! The little of nftables that the plugin needs, by netlink.

mod masquerade;
mod message;

pub use masquerade::ensure;
