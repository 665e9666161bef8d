//! Draws spans as a timeline in text: when each began, how long it took, where it ran, below what caused it.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use keelson_process::telemetry::SpanRecord;

/// Columns of the bar.
const WIDTH: u64 = 40;
/// A trace of a large rollout has thousands of spans; a terminal shows this many.
const MOST: usize = 400;

/// `spans` are those of one trace, by their start; there is at least one.
pub fn draw(object: &str, trace: &str, spans: &[SpanRecord]) -> String {
    let begin = spans.iter().map(|span| span.start).min().unwrap_or(0);
    let end = spans.iter().map(|span| span.end).max().unwrap_or(begin);
    let total = (end - begin).max(1);
    let processes: HashSet<&str> = spans.iter().map(|span| span.process.as_str()).collect();
    let mut text = format!(
        "{object}   trace {trace}\n{} spans in {} processes, {} from the first to the last\n\n",
        spans.len(),
        processes.len(),
        time(total)
    );
    let _ = writeln!(text, "{:>10}  {:<40}  {:>9}  {:<12} WHAT", "AT", "", "TOOK", "WHERE");
    for (depth, span) in ordered(spans).into_iter().take(MOST) {
        let bar = bar(span.start - begin, span.end.saturating_sub(span.start), total);
        let _ = writeln!(
            text,
            "{:>10}  {bar}  {:>9}  {:<12} {}{}{}",
            time(span.start - begin),
            time(span.end.saturating_sub(span.start)),
            span.process,
            "  ".repeat(depth),
            span.name,
            details(span)
        );
    }
    if spans.len() > MOST {
        let _ = writeln!(text, "... and {} more", spans.len() - MOST);
    }
    text
}

/// Spans in the order of a tree: each below its parent, siblings by their start. One whose parent is unknown is a root.
fn ordered(spans: &[SpanRecord]) -> Vec<(usize, &SpanRecord)> {
    let known: HashSet<&str> = spans.iter().map(|span| span.span.as_str()).collect();
    let mut children: HashMap<&str, Vec<&SpanRecord>> = HashMap::new();
    let mut stack = Vec::new();
    for span in spans {
        match span.parent.as_deref().filter(|&parent| known.contains(parent) && parent != span.span) {
            Some(parent) => children.entry(parent).or_default().push(span),
            None => stack.push((0, span)),
        }
    }
    stack.reverse();
    let mut ordered = Vec::with_capacity(spans.len());
    while let Some((depth, span)) = stack.pop() {
        ordered.push((depth, span));
        let below = children.remove(span.span.as_str()).unwrap_or_default();
        stack.extend(below.into_iter().rev().map(|child| (depth + 1, child)));
    }
    ordered
}

fn bar(offset: u64, length: u64, total: u64) -> String {
    let column = |at: u64| (u128::from(at) * u128::from(WIDTH) / u128::from(total)) as u64;
    let first = column(offset).min(WIDTH - 1);
    let last = column(offset + length).clamp(first + 1, WIDTH);
    let blank = |count: u64| " ".repeat(count as usize);
    format!("{}{}{}", blank(first), "■".repeat((last - first) as usize), blank(WIDTH - last))
}

fn time(nanoseconds: u64) -> String {
    let milliseconds = nanoseconds as f64 / 1e6;
    if milliseconds < 1000.0 { format!("{milliseconds:.1} ms") } else { format!("{:.2} s", milliseconds / 1000.0) }
}

fn details(span: &SpanRecord) -> String {
    let mut text = String::new();
    for (key, value) in &span.attributes {
        let _ = write!(text, " {key}={value}");
    }
    if let Some(error) = &span.error {
        let _ = write!(text, " FAILED: {error}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(span: &str, parent: Option<&str>, start: u64, end: u64) -> SpanRecord {
        SpanRecord {
            trace: "t".into(),
            span: span.into(),
            parent: parent.map(str::to_owned),
            process: "p".into(),
            name: span.into(),
            start: start * 1_000_000,
            end: end * 1_000_000,
            attributes: Default::default(),
            error: None,
        }
    }

    #[test]
    fn children_stand_below_their_parents_in_time_and_a_lost_parent_makes_a_root() {
        let spans = [
            span("a", None, 0, 10),
            span("b", Some("a"), 1, 2),
            span("d", Some("lost"), 2, 3),
            span("c", Some("a"), 5, 9),
        ];
        let order: Vec<_> = ordered(&spans).into_iter().map(|(depth, span)| (depth, span.name.as_str())).collect();
        assert_eq!(order, [(0, "a"), (1, "b"), (1, "c"), (0, "d")]);
    }

    #[test]
    fn a_bar_is_never_empty_and_never_too_long() {
        for (offset, length) in [(0, 0), (0, 100), (50, 50), (100, 0), (99, 1)] {
            let drawn = bar(offset, length, 100);
            assert_eq!(drawn.chars().count(), WIDTH as usize);
            assert!(drawn.contains('■'));
        }
    }
}
