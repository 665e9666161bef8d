//! Watching: who wants to hear of which keys, and how each watch is served.
//!
//! Nothing is queued for a watch. The hub keeps the newest changes once, in a ring of bounded size, and wakes the
//! streams that have an interest in one of them; a stream takes what it needs from the ring at its own pace, or from
//! the database when it is further behind. So a slow watch costs a few answers at most, and it ends, with a reason, when
//! the history that it still needs is compacted, or when nobody takes its answers.

mod answers;
mod feed;
mod hub;
mod interest;
mod stream;

pub use answers::{AnswerStream, channel as answer_channel};
pub use hub::Hub;
pub use stream::{Settings, WatchStream};
