//! The result: a table in Markdown, ready for the README.

pub struct Row {
    pub what: String,
    pub here: String,
    pub upstream: &'static str,
}

#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds a row, and prints it at once so that long runs show progress.
    pub fn add(&mut self, what: impl Into<String>, here: impl Into<String>, upstream: &'static str) {
        let row = Row { what: what.into(), here: here.into(), upstream };
        println!("{}: {} (upstream {})", row.what, row.here, row.upstream);
        self.rows.push(row);
    }

    pub fn render(&self) -> String {
        let mut text = String::from("| measured | Keelson | upstream 1.36 |\n|---|---|---|\n");
        for row in &self.rows {
            text.push_str(&format!("| {} | {} | {} |\n", row.what, row.here, row.upstream));
        }
        text
    }
}
