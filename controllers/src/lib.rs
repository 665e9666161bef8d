//! The controllers of a cluster: what turns objects that say what should be into objects that make it so.
#![forbid(unsafe_code)]

mod deployment;
mod expectations;
mod meta;
mod ownership;
mod pods;
