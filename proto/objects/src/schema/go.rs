//! How Go names types and reads times: what upstream's error texts are made of.

use jiff::Timestamp;
use jiff::tz::Offset;

use super::model::{Definitions, NodeId, Shape, TypeId};

/// The Go type of a node as `reflect.Type.String` prints it, such as `[]v1.Container`.
pub(super) fn type_name(definitions: &Definitions, id: NodeId) -> String {
    let node = definitions.node(id);
    if !node.go_name.is_empty() {
        return definitions.text(node.go_name).to_owned();
    }
    match node.shape {
        Shape::Object => definitions.text(definitions.type_of(TypeId(node.inner)).go_name).to_owned(),
        Shape::Map => format!("map[string]{}", type_name(definitions, NodeId(node.inner))),
        Shape::List => format!("[]{}", type_name(definitions, NodeId(node.inner))),
        Shape::String | Shape::Quantity | Shape::Time | Shape::MicroTime => "string".to_owned(),
        Shape::Bytes => "[]uint8".to_owned(),
        Shape::Boolean => "bool".to_owned(),
        Shape::Integer32 | Shape::IntOrString => "int32".to_owned(),
        Shape::Integer64 => "int64".to_owned(),
        Shape::Number => "float64".to_owned(),
        Shape::RawObject => "runtime.RawExtension".to_owned(),
        Shape::FieldsV1 => "v1.FieldsV1".to_owned(),
        Shape::Json => "v1.JSON".to_owned(),
        Shape::PropsOrArray => "v1.JSONSchemaPropsOrArray".to_owned(),
        Shape::PropsOrBool => "v1.JSONSchemaPropsOrBool".to_owned(),
        Shape::PropsOrStringArray => "v1.JSONSchemaPropsOrStringArray".to_owned(),
    }
}

/// The layouts of `metav1.Time` and `metav1.MicroTime`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Seconds,
    Micro,
}

impl Layout {
    fn text(self) -> &'static str {
        match self {
            Layout::Seconds => "2006-01-02T15:04:05Z07:00",
            Layout::Micro => "2006-01-02T15:04:05.000000Z07:00",
        }
    }

    fn elements(self) -> &'static [&'static str] {
        match self {
            Layout::Seconds => &["2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05", "Z07:00"],
            Layout::Micro => &["2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05", ".000000", "Z07:00"],
        }
    }
}

/// Reads a time as Go's `time.Parse` does and writes it as upstream stores it: in UTC, in the layout's precision.
pub(super) fn canonical_time(text: &str, layout: Layout) -> Result<String, String> {
    let timestamp = parse_time(text, layout)?;
    Ok(match layout {
        Layout::Seconds => crate::time::seconds(timestamp),
        Layout::Micro => crate::time::micro(timestamp),
    })
}

fn parse_time(text: &str, layout: Layout) -> Result<Timestamp, String> {
    let fail = |rest: &str, element: &str| {
        format!("parsing time {text:?} as {:?}: cannot parse {rest:?} as {element:?}", layout.text())
    };
    let mut rest = text;
    let mut numbers = [0i64; 6];
    let mut next_number = 0;
    let mut nanoseconds = 0;
    let mut offset_seconds = 0;
    for element in layout.elements() {
        match *element {
            "-" | "T" | ":" => {
                rest = rest.strip_prefix(*element).ok_or_else(|| fail(rest, element))?;
            }
            ".000000" => {
                let digits = rest.strip_prefix('.').unwrap_or_default();
                let digits = &digits[..digits.bytes().take_while(u8::is_ascii_digit).count()];
                if digits.len() < 6 {
                    return Err(fail(rest, element));
                }
                nanoseconds = fraction(digits);
                rest = &rest[digits.len() + 1..];
            }
            "Z07:00" => {
                offset_seconds = zone(&mut rest).ok_or_else(|| fail(rest, element))?;
            }
            number => {
                let width = number.len();
                let digits = rest.get(..width).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
                let digits = digits.ok_or_else(|| fail(rest, element))?;
                numbers[next_number] = digits.parse().map_err(|_| fail(rest, element))?;
                next_number += 1;
                rest = &rest[width..];
                if number == "05" && layout == Layout::Seconds && rest.starts_with('.') {
                    // Go accepts a fraction after the seconds where the layout has none.
                    let count = rest[1..].bytes().take_while(u8::is_ascii_digit).count();
                    nanoseconds = fraction(&rest[1..1 + count]);
                    rest = &rest[1 + count..];
                }
            }
        }
    }
    if !rest.is_empty() {
        return Err(format!("parsing time {text:?}: extra text: {rest:?}"));
    }
    let out_of_range = |what: &str| format!("parsing time {text:?}: {what} out of range");
    let [year, month, day, hour, minute, second] = numbers;
    if !(1..=12).contains(&month) {
        return Err(out_of_range("month"));
    }
    let part = |number: i64| i8::try_from(number).unwrap_or(i8::MAX);
    let date = jiff::civil::Date::new(i16::try_from(year).unwrap_or(i16::MAX), part(month), part(day))
        .map_err(|_| out_of_range("day"))?;
    for (value, limit, what) in [(hour, 23, "hour"), (minute, 59, "minute"), (second, 59, "second")] {
        if value > limit {
            return Err(out_of_range(what));
        }
    }
    let time = jiff::civil::Time::new(part(hour), part(minute), part(second), nanoseconds)
        .map_err(|_| out_of_range("second"))?;
    let offset = Offset::from_seconds(offset_seconds).map_err(|_| out_of_range("time zone offset hour"))?;
    offset.to_timestamp(date.to_datetime(time)).map_err(|_| out_of_range("year"))
}

/// Nanoseconds of a decimal fraction; digits past the ninth are cut.
fn fraction(digits: &str) -> i32 {
    digits.bytes().chain(std::iter::repeat(b'0')).take(9).fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0'))
}

/// Takes `Z`, `+hh:mm` or `-hh:mm` off the front.
fn zone(rest: &mut &str) -> Option<i32> {
    if let Some(after) = rest.strip_prefix('Z') {
        *rest = after;
        return Some(0);
    }
    let sign = match rest.bytes().next()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = rest.get(1..6)?;
    let (hours, minutes) = digits.split_once(':')?;
    if hours.len() != 2 || !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b':') {
        return None;
    }
    let seconds = sign * (hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60);
    *rest = &rest[6..];
    Some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_utc_in_the_layouts_precision() {
        let seconds = |text| canonical_time(text, Layout::Seconds);
        assert_eq!(seconds("2024-02-29T12:00:00+02:30").as_deref(), Ok("2024-02-29T09:30:00Z"));
        assert_eq!(seconds("2024-02-29T12:00:00.75Z").as_deref(), Ok("2024-02-29T12:00:00Z"));
        let micro = canonical_time("2024-02-29T12:00:00.123456789Z", Layout::Micro);
        assert_eq!(micro.as_deref(), Ok("2024-02-29T12:00:00.123456Z"));
    }

    #[test]
    fn errors_are_worded_as_go_words_them() {
        let error = |text| canonical_time(text, Layout::Seconds).unwrap_err();
        assert_eq!(
            error("yesterday"),
            r#"parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006""#
        );
        assert_eq!(
            error("2024-01-01"),
            r#"parsing time "2024-01-01" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T""#
        );
        assert_eq!(error("2024-13-01T00:00:00Z"), r#"parsing time "2024-13-01T00:00:00Z": month out of range"#);
        assert_eq!(error("2024-02-30T00:00:00Z"), r#"parsing time "2024-02-30T00:00:00Z": day out of range"#);
        assert_eq!(error("2024-02-03T00:00:00Zz"), r#"parsing time "2024-02-03T00:00:00Zz": extra text: "z""#);
    }
}
