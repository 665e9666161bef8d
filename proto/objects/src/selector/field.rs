//! Field selectors: `metadata.name=x,spec.nodeName!=y`. Which fields a kind answers for is the kind's matter.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term { selector: String, term: String },
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    /// Upstream prints the rune's number.
    #[error("invalid field selector: unescaped character in value: {0}")]
    Unescaped(u32),
}

/// One condition: the field equals the value, or it does not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    pub field: String,
    pub equal: bool,
    pub value: String,
}

/// All terms must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    terms: Vec<Term>,
}

impl Selector {
    pub fn everything() -> Selector {
        Selector::default()
    }

    pub fn new(terms: Vec<Term>) -> Selector {
        Selector { terms }
    }

    /// The field equals the value.
    pub fn equal(field: &str, value: &str) -> Selector {
        Selector { terms: vec![Term { field: field.to_owned(), equal: true, value: value.to_owned() }] }
    }

    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// `value_of` answers with a field's value; an absent field is the empty string.
    pub fn matches<'a>(&self, mut value_of: impl FnMut(&str) -> Option<&'a str>) -> bool {
        self.terms.iter().all(|term| (value_of(&term.field).unwrap_or_default() == term.value) == term.equal)
    }

    /// The value that the field must have, where the selector demands exactly one.
    pub fn required(&self, field: &str) -> Option<&str> {
        let term = self.terms.iter().find(|term| term.equal && term.field == field)?;
        Some(&term.value)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            if index > 0 {
                formatter.write_str(",")?;
            }
            let operator = if term.equal { "=" } else { "!=" };
            write!(formatter, "{}{operator}{}", term.field, escape(&term.value))?;
        }
        Ok(())
    }
}

/// Makes a value safe to stand in a selector.
pub fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

fn unescape(value: &str) -> Result<String, Error> {
    let mut plain = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(escaped @ ('\\' | ',' | '=')) => plain.push(escaped),
                Some(other) => return Err(Error::Escape(format!("\\{other}"))),
                None => return Err(Error::Escape("\\".to_owned())),
            },
            ',' | '=' => return Err(Error::Unescaped(character as u32)),
            other => plain.push(other),
        }
    }
    Ok(plain)
}

fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => {
                terms.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

/// Parses a selector; the empty text selects everything.
pub fn parse(text: &str) -> Result<Selector, Error> {
    let mut parts = split_terms(text);
    parts.sort_unstable();
    let mut terms = Vec::new();
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        let not_understood = || Error::Term { selector: text.to_owned(), term: part.to_owned() };
        // The first operator splits; a '!' that no '=' follows belongs to the field's name.
        let first = part.char_indices().find(|(at, _)| part[*at..].starts_with("!=") || part[*at..].starts_with('='));
        let (at, _) = first.ok_or_else(not_understood)?;
        let (field, rest) = part.split_at(at);
        let (equal, value) = if let Some(value) = rest.strip_prefix("!=") {
            (false, value)
        } else {
            (true, rest.strip_prefix("==").or_else(|| rest.strip_prefix('=')).ok_or_else(not_understood)?)
        };
        terms.push(Term { field: field.to_owned(), equal, value: unescape(value)? });
    }
    Ok(Selector { terms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_parse_and_print() {
        let table = [
            ("", ""),
            ("metadata.name=x", "metadata.name=x"),
            ("metadata.name==x", "metadata.name=x"),
            ("b!=1,a=2", "a=2,b!=1"),
            ("a=x\\,y\\=z", "a=x\\,y\\=z"),
            ("a=", "a="),
        ];
        for (text, printed) in table {
            assert_eq!(parse(text).unwrap().to_string(), printed, "{text}");
        }
    }

    #[test]
    fn terms_select() {
        let value_of = |field: &str| match field {
            "metadata.name" => Some("x"),
            _ => None,
        };
        assert!(parse("metadata.name=x,spec.nodeName=").unwrap().matches(value_of));
        assert!(!parse("metadata.name!=x").unwrap().matches(value_of));
        assert_eq!(parse("metadata.name=x").unwrap().required("metadata.name"), Some("x"));
    }

    #[test]
    fn what_does_not_parse_is_said() {
        assert_eq!(parse("a").unwrap_err().to_string(), "invalid selector: 'a'; can't understand 'a'");
        assert_eq!(parse("a=b=c").unwrap_err().to_string(), "invalid field selector: unescaped character in value: 61");
        assert_eq!(parse("a=\\x").unwrap_err().to_string(), "invalid field selector: invalid escape sequence: \\x");
    }
}
