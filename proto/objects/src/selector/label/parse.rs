//! The string form of label selectors: a small lexer and a descent over its tokens.
//!
//! `in` and `notin` are words of the grammar only where an operator stands: `x in (in)` is a selector.

use std::collections::BTreeSet;

use super::{Error, Operator, Requirement, Selector};
use crate::field::{FieldError, Path};
use crate::names;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    End,
    Close,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    Greater,
    Word,
    In,
    Less,
    NotEquals,
    NotIn,
    Open,
    Error,
}

fn is_symbol(byte: u8) -> bool {
    matches!(byte, b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<')
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Splits the text; the last token is always [`Token::End`].
fn scan(text: &str) -> Vec<(Token, String)> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut position = 0;
    loop {
        while position < bytes.len() && is_blank(bytes[position]) {
            position += 1;
        }
        let Some(&byte) = bytes.get(position) else {
            tokens.push((Token::End, String::new()));
            return tokens;
        };
        if is_symbol(byte) {
            let (token, length) = symbol(&bytes[position..]);
            tokens.push((token, text[position..position + length].to_owned()));
            position += length;
            continue;
        }
        let start = position;
        while position < bytes.len() && !is_symbol(bytes[position]) && !is_blank(bytes[position]) {
            position += 1;
        }
        // The ends of a word are ASCII or the end of the text: both are boundaries of characters.
        let word = &text[start..position];
        let token = match word {
            "in" => Token::In,
            "notin" => Token::NotIn,
            _ => Token::Word,
        };
        tokens.push((token, word.to_owned()));
    }
}

fn symbol(bytes: &[u8]) -> (Token, usize) {
    match bytes {
        [b'=', b'=', ..] => (Token::DoubleEquals, 2),
        [b'!', b'=', ..] => (Token::NotEquals, 2),
        [b'=', ..] => (Token::Equals, 1),
        [b'!', ..] => (Token::Not, 1),
        [b'(', ..] => (Token::Open, 1),
        [b')', ..] => (Token::Close, 1),
        [b',', ..] => (Token::Comma, 1),
        [b'>', ..] => (Token::Greater, 1),
        [b'<', ..] => (Token::Less, 1),
        _ => (Token::Error, 1),
    }
}

struct Parser {
    tokens: Vec<(Token, String)>,
    position: usize,
}

impl Parser {
    /// The next token where a value or a key stands: operators' words are words here.
    fn peek(&self) -> (Token, &str) {
        let (token, text) = self.raw();
        match token {
            Token::In | Token::NotIn => (Token::Word, text),
            other => (other, text),
        }
    }

    fn raw(&self) -> (Token, &str) {
        // The last token is End, and nothing moves past it.
        let (token, text) = &self.tokens[self.position.min(self.tokens.len() - 1)];
        (*token, text)
    }

    fn take(&mut self) -> (Token, String) {
        let (token, text) = self.peek();
        let taken = (token, text.to_owned());
        self.position += 1;
        taken
    }

    fn selector(mut self) -> Result<Selector, Error> {
        let mut requirements = Vec::new();
        loop {
            let (token, text) = self.peek();
            match token {
                Token::Word | Token::Not => {}
                Token::End => return Ok(Selector::new(requirements)),
                _ => return Err(Error(format!("found '{text}', expected: !, identifier, or 'end of string'"))),
            }
            let requirement =
                self.requirement().map_err(|error| Error(format!("unable to parse requirement: {error}")))?;
            requirements.push(requirement);
            let (token, text) = self.take();
            match token {
                Token::End => return Ok(Selector::new(requirements)),
                Token::Comma => {
                    let (token, text) = self.peek();
                    if token != Token::Word && token != Token::Not {
                        return Err(Error(format!("found '{text}', expected: identifier after ','")));
                    }
                }
                _ => return Err(Error(format!("found '{text}', expected: ',' or 'end of string'"))),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, Error> {
        let (mut token, mut key) = self.take();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.take();
        }
        if token != Token::Word {
            return Err(Error(format!("found '{key}', expected: identifier")));
        }
        let broken = names::qualified_name(&key);
        if !broken.is_empty() {
            let error = FieldError::invalid(&Path::new("<nil>"), key.as_str(), broken.join("; "));
            return Err(Error(error.to_string()));
        }
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, Vec::new(), &Path::root());
        }
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Requirement::new(key, Operator::Exists, Vec::new(), &Path::root());
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => self.exact_value()?,
        };
        Requirement::new(key, operator, values.into_iter().collect(), &Path::root())
    }

    fn operator(&mut self) -> Result<Operator, Error> {
        let (token, text) = self.raw();
        let operator = match token {
            Token::In => Operator::In,
            Token::NotIn => Operator::NotIn,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::NotEquals => Operator::NotEquals,
            Token::Greater => Operator::GreaterThan,
            Token::Less => Operator::LessThan,
            _ => return Err(Error(format!("found '{text}', expected: in, notin, =, ==, !=, gt, lt"))),
        };
        self.position += 1;
        Ok(operator)
    }

    fn values(&mut self) -> Result<BTreeSet<String>, Error> {
        let (token, text) = self.take();
        if token != Token::Open {
            return Err(Error(format!("found '{text}' expected: '('")));
        }
        let (token, text) = self.peek();
        match token {
            Token::Word | Token::Comma => {
                let first = text.to_owned();
                let values = self.list()?;
                match self.take().0 {
                    Token::Close => Ok(values),
                    _ => Err(Error(format!("found '{first}', expected: ')'"))),
                }
            }
            Token::Close => {
                self.position += 1;
                Ok(BTreeSet::from([String::new()]))
            }
            _ => Err(Error(format!("found '{text}', expected: ',', ')' or identifier"))),
        }
    }

    /// Values between the brackets; an empty place between commas is the empty value.
    fn list(&mut self) -> Result<BTreeSet<String>, Error> {
        let mut values = BTreeSet::new();
        loop {
            let (token, text) = self.take();
            match token {
                Token::Word => {
                    values.insert(text);
                    let (token, text) = self.peek();
                    match token {
                        Token::Comma => {}
                        Token::Close => return Ok(values),
                        _ => return Err(Error(format!("found '{text}', expected: ',' or ')'"))),
                    }
                }
                Token::Comma => {
                    if values.is_empty() {
                        values.insert(String::new());
                    }
                    match self.peek().0 {
                        Token::Close => {
                            values.insert(String::new());
                            return Ok(values);
                        }
                        Token::Comma => {
                            values.insert(String::new());
                        }
                        _ => {}
                    }
                }
                _ => return Err(Error(format!("found '{text}', expected: ',', or identifier"))),
            }
        }
    }

    fn exact_value(&mut self) -> Result<BTreeSet<String>, Error> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(BTreeSet::from([String::new()]));
        }
        let (token, text) = self.take();
        match token {
            Token::Word => Ok(BTreeSet::from([text])),
            _ => Err(Error(format!("found '{text}', expected: identifier"))),
        }
    }
}

/// Parses the string form; the empty text selects everything.
pub fn parse(text: &str) -> Result<Selector, Error> {
    Parser { tokens: scan(text), position: 0 }.selector()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_print_in_canonical_form() {
        let table = [
            ("x in (b, a)", "x in (a,b)"),
            ("x in (foo,,baz),y,z notin ()", "x in (,baz,foo),y,z notin ()"),
            ("b=1,a=2", "a=2,b=1"),
            ("x in (in, notin)", "x in (in,notin)"),
            ("a=", "a="),
            (" !a ", "!a"),
        ];
        for (text, canonical) in table {
            assert_eq!(parse(text).unwrap().to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn what_does_not_parse_is_said_as_upstream_says_it() {
        let table = [
            ("x=a||y=b", "unable to parse requirement: values[0][x]: Invalid value: \"a||y\""),
            ("x==a==b", "found '==', expected: ',' or 'end of string'"),
            ("x,,", "found ',', expected: identifier after ','"),
            ("x in a", "unable to parse requirement: found 'a' expected: '('"),
            (")", "found ')', expected: !, identifier, or 'end of string'"),
            ("x y", "unable to parse requirement: found 'y', expected: in, notin, =, ==, !=, gt, lt"),
            ("x in (a", "unable to parse requirement: found '', expected: ',' or ')'"),
        ];
        for (text, message) in table {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{text}: {error}");
        }
    }
}
