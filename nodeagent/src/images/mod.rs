//! Images as the pods of this node want them: names, pull secrets, pull policy, and what is said about it.

pub mod ensure;
pub mod pull_secrets;
pub mod reference;
