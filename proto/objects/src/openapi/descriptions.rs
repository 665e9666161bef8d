//! Descriptions of types and fields: prose that only documents need, embedded compressed and inflated for the moment.

use std::collections::HashMap;
use std::io::Read as _;

use flate2::read::DeflateDecoder;

/// What `build.rs` took from the crate k8s-openapi: lines of `type<TAB>field<TAB>text`.
static COMPRESSED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.deflate"));

/// The texts by type; a type's own text stands under the empty field.
pub(super) struct Descriptions {
    text: String,
    lines: HashMap<String, Vec<(usize, usize)>>,
}

impl Descriptions {
    pub fn inflate() -> Descriptions {
        let mut text = String::new();
        // The stream is embedded at build time; were it broken, documents would only lack prose.
        let _ = DeflateDecoder::new(COMPRESSED).read_to_string(&mut text);
        let mut lines: HashMap<String, Vec<(usize, usize)>> = HashMap::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            if let Some((name, _)) = line.split_once('\t') {
                lines.entry(name.to_owned()).or_default().push((start + name.len() + 1, start + line.len() - 1));
            }
            start += line.len();
        }
        Descriptions { text, lines }
    }

    /// The description of a field, or of the type itself for an empty `field`.
    pub fn find(&self, type_name: &str, field: &str) -> Option<String> {
        self.lines.get(type_name)?.iter().find_map(|(start, end)| {
            let (name, text) = self.text[*start..*end].split_once('\t')?;
            (name == field).then(|| unescape(text))
        })
    }
}

/// The escapes of a Rust string literal.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('u') => {
                let digits: String = characters.by_ref().skip(1).take_while(|digit| *digit != '}').collect();
                let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                out.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_fields_are_described() {
        let descriptions = Descriptions::inflate();
        let of = |name, field| descriptions.find(name, field).unwrap_or_default();
        assert!(of("io.k8s.api.apps.v1.Deployment", "").starts_with("Deployment"));
        assert!(of("io.k8s.api.apps.v1.DeploymentSpec", "replicas").contains("Number of desired pods"));
        assert!(of("io.k8s.api.apps.v1.DeploymentSpec", "template").contains("\"Always\""));
        assert_eq!(descriptions.find("io.k8s.api.apps.v1.DeploymentSpec", "nothing"), None);
    }
}
