//! Who is it? Client certificates, service-account tokens and the static token file.

mod user;

pub use user::User;
