pub mod network;
pub mod runtime;
