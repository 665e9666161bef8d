//! The first process of a pod's sandbox: holds its namespaces, reaps orphans, ends when told to.

#![no_std]
#![no_main]

mod sys;

fn run(_: sys::Arguments) -> i32 {
    let signals = [sys::SIGINT, sys::SIGTERM, sys::SIGCHLD];
    sys::block(&signals);
    // A child may have ended before the signal was blocked.
    while sys::reap() {}
    loop {
        match sys::wait_for_signal(&signals) {
            sys::SIGCHLD => while sys::reap() {},
            _ => return 0,
        }
    }
}
