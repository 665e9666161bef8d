//! The CRI log format, line by line, and what of it a reader asked for.
//!
//! A line is `<RFC 3339 time> <stdout|stderr> <P|F> <text>`; `P` marks a part of a longer line that goes on.

use jiff::Timestamp;

/// One line of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    pub time: &'a str,
    pub stream: &'a str,
    /// The container's line goes on with the next one.
    pub partial: bool,
    pub text: &'a [u8],
}

impl<'a> Line<'a> {
    /// Reads a line without its newline; `None` for one that does not follow the format.
    pub fn parse(line: &'a [u8]) -> Option<Line<'a>> {
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let time = std::str::from_utf8(fields.next()?).ok()?;
        let stream = std::str::from_utf8(fields.next()?).ok().filter(|name| ["stdout", "stderr"].contains(name))?;
        let tags = fields.next()?;
        let partial = tags.split(|byte| *byte == b':').next() == Some(b"P");
        Some(Line { time, stream, partial, text: fields.next().unwrap_or_default() })
    }
}

/// What a reader asked for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub since: Option<Timestamp>,
    pub timestamps: bool,
    /// `stdout`, `stderr` or both.
    pub stream: Option<String>,
}

/// Turns lines of the file into the bytes that the reader gets.
#[derive(Clone, Debug)]
pub struct Renderer {
    filter: Filter,
    /// Bytes that may still be written.
    left: Option<u64>,
    /// The line before was partial and passed: this one continues it.
    continues: bool,
}

impl Renderer {
    pub fn new(filter: Filter, limit: Option<u64>) -> Renderer {
        Renderer { filter, left: limit, continues: false }
    }

    /// Nothing more can be written.
    pub fn is_full(&self) -> bool {
        self.left == Some(0)
    }

    /// Appends to `output` what of `line` (without its newline) the reader asked for.
    pub fn render(&mut self, line: &[u8], output: &mut Vec<u8>) {
        let Some(line) = Line::parse(line) else { return };
        if !self.wants(&line) {
            return;
        }
        let begin = output.len();
        if self.filter.timestamps && !self.continues {
            output.extend_from_slice(line.time.as_bytes());
            output.push(b' ');
        }
        output.extend_from_slice(line.text);
        if !line.partial {
            output.push(b'\n');
        }
        self.continues = line.partial;
        if let Some(left) = &mut self.left {
            let written = (output.len() - begin) as u64;
            let allowed = written.min(*left);
            *left -= allowed;
            // `allowed` is at most what was just written, which fits in memory.
            output.truncate(begin + allowed as usize);
        }
    }

    fn wants(&self, line: &Line<'_>) -> bool {
        let stream_fits = self.filter.stream.as_deref().is_none_or(|wanted| wanted == line.stream);
        let time_fits = self.filter.since.is_none_or(|since| match line.time.parse::<Timestamp>() {
            Ok(time) => time >= since,
            // A line without a readable time cannot be shown to be older.
            Err(_) => true,
        });
        stream_fits && time_fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: [&str; 5] = [
        "2026-01-01T00:00:00.1Z stdout F one",
        "2026-01-01T00:00:01.2Z stderr F two",
        "2026-01-01T00:00:02.3Z stdout P thr",
        "2026-01-01T00:00:02.4Z stdout F ee",
        "2026-01-01T00:00:03.5Z stdout F ",
    ];

    fn rendered(filter: Filter, limit: Option<u64>) -> String {
        let mut renderer = Renderer::new(filter, limit);
        let mut output = Vec::new();
        for line in LOG.iter().chain(&["not a log line"]) {
            renderer.render(line.as_bytes(), &mut output);
        }
        String::from_utf8(output).expect("text")
    }

    #[test]
    fn lines_are_joined_filtered_and_cut() {
        let all = Filter::default();
        assert_eq!(rendered(all.clone(), None), "one\ntwo\nthree\n\n");
        assert_eq!(rendered(all.clone(), Some(6)), "one\ntw");
        assert_eq!(rendered(Filter { stream: Some("stderr".to_owned()), ..all.clone() }, None), "two\n");
        let since = "2026-01-01T00:00:02Z".parse().expect("a time");
        assert_eq!(rendered(Filter { since: Some(since), ..all.clone() }, None), "three\n\n");
        let stamped = rendered(Filter { timestamps: true, ..all }, None);
        assert!(stamped.starts_with("2026-01-01T00:00:00.1Z one\n2026-01-01T00:00:01.2Z two\n"), "{stamped}");
        assert!(stamped.contains("2026-01-01T00:00:02.3Z three\n"), "{stamped}");
    }
}
