//! The simple JSON paths of custom kinds' printer columns: `.spec.replicas`, `.status.conditions[?(@.type=="Ready")].status`.

use serde_json::Value;

/// The first value that the path leads to.
pub fn first<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut rest = path.trim().trim_start_matches('{').trim_end_matches('}');
    let mut value = object;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let (inside, after) = split_bracket(after)?;
            value = subscript(value, inside)?;
            rest = after;
            continue;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
        let (name, after) = split_name(rest);
        value = value.get(name.as_str())?;
        rest = after;
    }
    Some(value)
}

/// A field's name up to the next unescaped `.` or `[`; `\.` stands for a dot in the name.
fn split_name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '\\' => {
                if let Some((_, escaped)) = characters.next() {
                    name.push(escaped);
                }
            }
            '.' | '[' => return (name, &text[index..]),
            other => name.push(other),
        }
    }
    (name, "")
}

/// The inside of a bracket and what follows it; quotes may hold a closing bracket.
fn split_bracket(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (index, character) in text.char_indices() {
        match (quote, character) {
            (None, ']') => return Some((&text[..index], &text[index + 1..])),
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
    }
    None
}

fn subscript<'a>(value: &'a Value, inside: &str) -> Option<&'a Value> {
    if let Some(filter) = inside.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        let (field, wanted) = filter.split_once("==")?;
        let field = field.trim().strip_prefix("@.")?;
        let wanted = wanted.trim().trim_matches(['"', '\'']);
        return value.as_array()?.iter().find(|item| {
            first(item, field).is_some_and(|found| match found {
                Value::String(text) => text == wanted,
                other => serde_json::from_str(wanted).is_ok_and(|wanted: Value| wanted == *other),
            })
        });
    }
    if inside == "*" {
        return value.as_array()?.first();
    }
    match inside.parse::<i64>() {
        Ok(index) => {
            let items = value.as_array()?;
            let index = if index < 0 { items.len().checked_add_signed(index as isize)? } else { index as usize };
            items.get(index)
        }
        Err(_) => value.get(inside.trim_matches(['"', '\''])),
    }
}

#[cfg(test)]
mod tests {
    use super::first;
    use serde_json::json;

    #[test]
    fn paths_of_printer_columns_are_followed() {
        let object = json!({
            "spec": {"a.b": 1, "list": [1, 2, 3]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "X", "status": "False"}]},
        });
        for (path, expected) in [
            (".spec.list[1]", json!(2)),
            (".spec.list[-1]", json!(3)),
            (".spec.a\\.b", json!(1)),
            (".spec['a.b']", json!(1)),
            ("{.status.conditions[?(@.type==\"X\")].status}", json!("False")),
        ] {
            assert_eq!(first(&object, path), Some(&expected), "{path}");
        }
        assert_eq!(first(&object, ".spec.missing.deep"), None);
        assert_eq!(first(&object, ".spec.list[9]"), None);
    }
}
