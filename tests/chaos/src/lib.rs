pub mod history;
pub mod judge;
