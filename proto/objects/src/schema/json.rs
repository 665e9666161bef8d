//! A JSON reader for request bodies: bounded, linear, and with the ear for what serde_json does not tell:
//! duplicate keys with their paths, and syntax errors in the words of Go's decoder.

use std::fmt;

use serde_json::{Map, Number, Value};

use super::path::Path;

/// What a document may cost before it is refused.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Nesting of objects and arrays. Below serde_json's own limit of 128, so that what was read once can be read again.
    pub depth: usize,
    /// Length of the document.
    pub bytes: usize,
    /// Number of values in it.
    pub values: usize,
}

impl Default for Limits {
    /// Upstream's request limit of 3 MiB; a depth that no published schema reaches half of.
    fn default() -> Limits {
        Limits { depth: 120, bytes: 3 * 1024 * 1024, values: 500_000 }
    }
}

/// A document and the keys that it gives more than once (the last value counts, as in Go).
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    pub value: Value,
    /// Such as `duplicate field "spec.replicas"`.
    pub duplicates: Vec<String>,
}

/// A document that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// In Go's words, such as `invalid character '}' looking for beginning of value`.
    #[error("{0}")]
    Syntax(String),
    #[error("exceeded max depth")]
    TooDeep,
    #[error("request body too large: {bytes} bytes, {limit} allowed")]
    TooLarge { bytes: usize, limit: usize },
    #[error("document has more than {limit} values")]
    TooManyValues { limit: usize },
}

/// As many duplicate keys are named; a hostile document gets no more.
pub(super) const MOST_DUPLICATES: usize = 100;

/// Reads one JSON document.
pub fn parse_json(bytes: &[u8], limits: &Limits) -> Result<Parsed, ParseError> {
    if bytes.len() > limits.bytes {
        return Err(ParseError::TooLarge { bytes: bytes.len(), limit: limits.bytes });
    }
    let mut reader = Reader { bytes, at: 0, limits, values: 0, duplicates: Vec::new() };
    let value = reader.value(&Path::Root, 0)?;
    match reader.skip_space() {
        None => Ok(Parsed { value, duplicates: reader.duplicates }),
        Some(byte) => Err(unexpected(byte, "after top-level value")),
    }
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    limits: &'b Limits,
    values: usize,
    duplicates: Vec<String>,
}

impl Reader<'_> {
    /// The next byte that is no space, not taken.
    fn skip_space(&mut self) -> Option<u8> {
        while let Some(byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    fn value(&mut self, path: &Path<'_>, depth: usize) -> Result<Value, ParseError> {
        self.values += 1;
        if self.values > self.limits.values {
            return Err(ParseError::TooManyValues { limit: self.limits.values });
        }
        match self.skip_space().ok_or_else(end)? {
            b'{' => self.object(path, depth + 1),
            b'[' => self.array(path, depth + 1),
            b'"' => Ok(Value::String(self.string()?)),
            b't' => self.literal("true", Value::Bool(true)),
            b'f' => self.literal("false", Value::Bool(false)),
            b'n' => self.literal("null", Value::Null),
            b'-' | b'0'..=b'9' => self.number(),
            byte => Err(unexpected(byte, "looking for beginning of value")),
        }
    }

    fn object(&mut self, path: &Path<'_>, depth: usize) -> Result<Value, ParseError> {
        if depth > self.limits.depth {
            return Err(ParseError::TooDeep);
        }
        self.at += 1;
        let mut map = Map::new();
        if self.skip_space().ok_or_else(end)? == b'}' {
            self.at += 1;
            return Ok(Value::Object(map));
        }
        loop {
            match self.skip_space().ok_or_else(end)? {
                b'"' => {}
                byte => return Err(unexpected(byte, "looking for beginning of object key string")),
            }
            let key = self.string()?;
            match self.skip_space().ok_or_else(end)? {
                b':' => self.at += 1,
                byte => return Err(unexpected(byte, "after object key")),
            }
            let here = Path::Key(path, &key);
            let value = self.value(&here, depth)?;
            if map.contains_key(&key) && self.duplicates.len() < MOST_DUPLICATES {
                let duplicate = format!("duplicate field \"{here}\"");
                if !self.duplicates.contains(&duplicate) {
                    self.duplicates.push(duplicate);
                }
            }
            map.insert(key, value);
            match self.skip_space().ok_or_else(end)? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(Value::Object(map));
                }
                byte => return Err(unexpected(byte, "after object key:value pair")),
            }
        }
    }

    fn array(&mut self, path: &Path<'_>, depth: usize) -> Result<Value, ParseError> {
        if depth > self.limits.depth {
            return Err(ParseError::TooDeep);
        }
        self.at += 1;
        let mut items = Vec::new();
        if self.skip_space().ok_or_else(end)? == b']' {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            let value = self.value(&Path::Index(path, items.len()), depth)?;
            items.push(value);
            match self.skip_space().ok_or_else(end)? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Ok(Value::Array(items));
                }
                byte => return Err(unexpected(byte, "after array element")),
            }
        }
    }

    fn literal(&mut self, word: &'static str, value: Value) -> Result<Value, ParseError> {
        for expected in word.bytes() {
            let byte = *self.bytes.get(self.at).ok_or_else(end)?;
            if byte != expected {
                let context = format!("in literal {word} (expecting {})", Quoted(expected));
                return Err(unexpected(byte, &context));
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<Value, ParseError> {
        let start = self.at;
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        match self.bytes.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            Some(byte) => return Err(unexpected(*byte, "in numeric literal")),
            None => return Err(end()),
        }
        let mut is_integer = true;
        if self.bytes.get(self.at) == Some(&b'.') {
            is_integer = false;
            self.at += 1;
            self.at_least_one_digit("after decimal point in numeric literal")?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            is_integer = false;
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.at_least_one_digit("in exponent of numeric literal")?;
        }
        let text = std::str::from_utf8(&self.bytes[start..self.at]).unwrap_or_default();
        let integer = match is_integer {
            true => text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from)).ok(),
            false => None,
        };
        let number = integer.or_else(|| text.parse::<f64>().ok().and_then(Number::from_f64));
        number.map(Value::Number).ok_or_else(|| {
            ParseError::Syntax(format!("json: cannot unmarshal number {text} into Go value of type float64"))
        })
    }

    fn digits(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn at_least_one_digit(&mut self, context: &str) -> Result<(), ParseError> {
        match self.bytes.get(self.at) {
            Some(byte) if byte.is_ascii_digit() => {
                self.digits();
                Ok(())
            }
            Some(byte) => Err(unexpected(*byte, context)),
            None => Err(end()),
        }
    }

    fn string(&mut self) -> Result<String, ParseError> {
        self.at += 1;
        let start = self.at;
        let mut decoded: Option<Vec<u8>> = None;
        let mut copied = start;
        loop {
            match *self.bytes.get(self.at).ok_or_else(end)? {
                b'"' => {
                    let tail = &self.bytes[copied..self.at];
                    self.at += 1;
                    let bytes = match decoded {
                        None => tail.to_vec(),
                        Some(mut decoded) => {
                            decoded.extend_from_slice(tail);
                            decoded
                        }
                    };
                    // Go puts U+FFFD for what is not UTF-8.
                    return Ok(String::from_utf8(bytes)
                        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()));
                }
                b'\\' => {
                    let out = decoded.get_or_insert_with(Vec::new);
                    out.extend_from_slice(&self.bytes[copied..self.at]);
                    self.at += 1;
                    let character = self.escape()?;
                    let out = decoded.get_or_insert_with(Vec::new);
                    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    copied = self.at;
                }
                byte if byte < 0x20 => return Err(unexpected(byte, "in string literal")),
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, ParseError> {
        let byte = *self.bytes.get(self.at).ok_or_else(end)?;
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hexadecimal()?;
                if !(0xd800..0xdc00).contains(&first) || !self.bytes[self.at..].starts_with(b"\\u") {
                    return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                let back = self.at;
                self.at += 2;
                let second = self.hexadecimal()?;
                if (0xdc00..0xe000).contains(&second) {
                    let joined = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                    return Ok(char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                // A lone half: the second escape stands for itself.
                self.at = back;
                char::REPLACEMENT_CHARACTER
            }
            byte => return Err(unexpected(byte, "in string escape code")),
        })
    }

    fn hexadecimal(&mut self) -> Result<u32, ParseError> {
        let mut number = 0;
        for _ in 0..4 {
            let byte = *self.bytes.get(self.at).ok_or_else(end)?;
            let digit = char::from(byte).to_digit(16);
            number = number * 16 + digit.ok_or_else(|| unexpected(byte, "in \\u hexadecimal character escape"))?;
            self.at += 1;
        }
        Ok(number)
    }
}

fn end() -> ParseError {
    ParseError::Syntax("unexpected end of JSON input".to_owned())
}

fn unexpected(byte: u8, context: &str) -> ParseError {
    ParseError::Syntax(format!("invalid character {} {context}", Quoted(byte)))
}

/// A byte as Go quotes it in a syntax error.
struct Quoted(u8);

impl fmt::Display for Quoted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b'\'' => out.write_str(r"'\''"),
            b'\n' => out.write_str(r"'\n'"),
            b'\t' => out.write_str(r"'\t'"),
            b'\r' => out.write_str(r"'\r'"),
            b'\\' => out.write_str(r"'\\'"),
            byte @ (0..0x20 | 0x7f) => write!(out, r"'\x{byte:02x}'"),
            byte => write!(out, "'{}'", char::from(byte)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Result<Parsed, ParseError> {
        parse_json(text.as_bytes(), &Limits::default())
    }

    #[test]
    fn syntax_errors_are_worded_as_go_words_them() {
        for (text, expected) in [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("{x", "invalid character 'x' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{} {", "invalid character '{' after top-level value"),
            ("tru3", "invalid character '3' in literal true (expecting 'e')"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("\"\n\"", "invalid character '\\n' in string literal"),
            ("'a'", "invalid character '\\'' looking for beginning of value"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn duplicates_are_named_by_path_and_the_last_counts() {
        let parsed = parse(r#"{"spec":{"a":1,"list":[{"b":1,"b":2}],"a":2},"spec2":{}}"#).unwrap();
        assert_eq!(parsed.duplicates, [r#"duplicate field "spec.list[0].b""#, r#"duplicate field "spec.a""#]);
        assert_eq!(parsed.value["spec"]["a"], 2);
    }

    #[test]
    fn depth_size_and_count_are_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(&nested(120)).is_ok());
        assert_eq!(parse(&nested(121)), Err(ParseError::TooDeep));
        assert_eq!(parse(&"[".repeat(1_000_000)), Err(ParseError::TooDeep));
        let limits = Limits { values: 10, bytes: 40, ..Limits::default() };
        assert_eq!(parse_json(b"[1,2,3,4,5,6,7,8,9,10]", &limits), Err(ParseError::TooManyValues { limit: 10 }));
        assert!(matches!(parse_json(&[b' '; 41], &limits), Err(ParseError::TooLarge { bytes: 41, limit: 40 })));
    }

    #[test]
    fn strings_unescape_as_in_go() {
        let parsed = parse(r#"["\u00e4\n\"","\ud83d\ude00","\ud83dx","\ud83d\u0041"]"#).unwrap();
        assert_eq!(parsed.value, json!(["ä\n\"", "😀", "\u{fffd}x", "\u{fffd}A"]));
        let invalid = parse_json(b"\"a\xff\"", &Limits::default()).unwrap();
        assert_eq!(invalid.value, json!("a\u{fffd}"));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 60, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map(".*", inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn reads_whatever_serde_json_writes(value in any_json()) {
            let parsed = parse(&value.to_string()).unwrap();
            prop_assert_eq!(parsed.value, value);
            prop_assert!(parsed.duplicates.is_empty());
        }

        #[test]
        fn agrees_with_serde_json_on_what_is_json(bytes in prop::collection::vec(
            prop::sample::select(b"{}[]\",:0123456789.eE+-\\untrfals \n".to_vec()), 0..24))
        {
            let ours = parse_json(&bytes, &Limits::default());
            let theirs: Result<Value, _> = serde_json::from_slice(&bytes);
            // Numbers beyond f64 and lone surrogates are where Go and serde_json differ.
            if !bytes.contains(&b'e') && !bytes.contains(&b'E') && !bytes.contains(&b'\\') {
                prop_assert_eq!(ours.is_ok(), theirs.is_ok());
            }
        }
    }
}
