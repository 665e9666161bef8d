//! Printer columns of server-side tables, as data.

use serde_json::Value;

use super::Text;

/// How a cell is read from an object. `now` is the time that ages are measured from, in seconds since the epoch.
#[derive(Clone)]
pub enum Cell {
    /// The value at this path (`["spec", "replicas"]`), or null.
    Path(&'static [&'static str]),
    /// The time since `metadata.creationTimestamp`, in kubectl's short form (`5m3s`).
    Age,
    /// Anything that must be computed.
    Read(fn(object: &Value, now: i64) -> Value),
    /// A JSON path, for custom kinds.
    JsonPath(Text),
}

/// One column. `priority` 0 is always shown, 1 and more only with `-o wide`.
#[derive(Clone)]
pub struct Column {
    pub name: Text,
    /// OpenAPI type: string, integer, number, boolean, date.
    pub kind: Text,
    /// OpenAPI format: `name` for the first column, otherwise mostly empty.
    pub format: Text,
    pub description: Text,
    pub priority: i32,
    pub cell: Cell,
}

impl Column {
    pub fn new(name: &'static str, kind: &'static str, description: &'static str, cell: Cell) -> Column {
        Column {
            name: name.into(),
            kind: kind.into(),
            format: "".into(),
            description: description.into(),
            priority: 0,
            cell,
        }
    }

    /// Shown with `-o wide` only.
    pub fn wide(mut self) -> Column {
        self.priority = 1;
        self
    }
}
