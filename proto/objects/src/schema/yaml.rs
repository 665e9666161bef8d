//! YAML input, turned into the same values as JSON input.

use serde_json::Value;

use super::json::{Limits, ParseError, Parsed};

/// Reads one YAML document. Aliases are expanded by the reader only so far as its own repetition limit, and the
/// result is held to the same limits as JSON. Of duplicate keys the first is named.
pub fn parse_yaml(bytes: &[u8], limits: &Limits) -> Result<Parsed, ParseError> {
    if bytes.len() > limits.bytes {
        return Err(ParseError::TooLarge { bytes: bytes.len(), limit: limits.bytes });
    }
    let value: Value = serde_yaml_ng::from_slice(bytes)
        .map_err(|error| ParseError::Syntax(format!("error converting YAML to JSON: yaml: {error}")))?;
    let mut values = 0;
    check(&value, 0, limits, &mut values)?;
    // Reading into a map takes the last of two equal keys; only YAML's own mapping complains of them.
    let strict: Result<serde_yaml_ng::Value, _> = serde_yaml_ng::from_slice(bytes);
    let complaint = strict.err().map(|error| error.to_string());
    let duplicates = complaint.as_deref().and_then(duplicate_key).into_iter().collect();
    Ok(Parsed { value, duplicates })
}

/// `key "a" already set in map`, from the reader's own words for it.
fn duplicate_key(complaint: &str) -> Option<String> {
    let (_, rest) = complaint.split_once("duplicate entry with key \"")?;
    let (key, _) = rest.split_once('"')?;
    Some(format!("key {key:?} already set in map"))
}

fn check(value: &Value, depth: usize, limits: &Limits, values: &mut usize) -> Result<(), ParseError> {
    *values += 1;
    if *values > limits.values {
        return Err(ParseError::TooManyValues { limit: limits.values });
    }
    if depth > limits.depth {
        return Err(ParseError::TooDeep);
    }
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| check(item, depth + 1, limits, values)),
        Value::Object(map) => map.values().try_for_each(|item| check(item, depth + 1, limits, values)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Result<Parsed, ParseError> {
        parse_yaml(text.as_bytes(), &Limits::default())
    }

    #[test]
    fn yaml_reads_as_json_does() {
        let parsed = parse("a: 1\nb: [x, 'y', true, 1.5]\nc: {d: null}\n").unwrap();
        assert_eq!(parsed.value, json!({"a": 1, "b": ["x", "y", true, 1.5], "c": {"d": null}}));
        assert_eq!(parse("x:\n  a: 1\n  a: 2\n").unwrap().duplicates, [r#"key "a" already set in map"#]);
        assert!(parse("a: [").is_err());
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..9 {
            let one = format!("*a{}", level - 1);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![one; 10].join(",")));
        }
        assert!(parse(&bomb).is_err());
    }
}
