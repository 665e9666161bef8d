//! Image references: what a pod's spec may write, and its full form.
//!
//! The grammar is that of the distribution project (`[domain/]path[:tag][@digest]`), with Docker Hub's short names.

use std::fmt;

/// A reference that follows the grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// `docker.io` for short names.
    pub domain: String,
    /// With `library/` for official images of Docker Hub.
    pub path: String,
    pub tag: Option<String>,
    pub digest: Option<String>,
}

/// Why a text is no image reference, in the words of the distribution library that upstream's messages quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("invalid reference format")]
    Format,
    #[error("invalid reference format: repository name must be lowercase")]
    Uppercase,
    #[error("repository name must not be more than 255 characters")]
    TooLong,
    #[error("invalid repository name, cannot specify 64-byte hexadecimal strings")]
    Identifier,
    #[error("invalid checksum digest length")]
    DigestLength,
    #[error("invalid checksum digest format")]
    DigestFormat,
    #[error("unsupported digest algorithm")]
    DigestAlgorithm,
}

impl Reference {
    /// Parses a reference; one with neither tag nor digest means `:latest`.
    pub fn parse(text: &str) -> Result<Reference, Error> {
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
            return Err(Error::Identifier);
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
            Some(_) => return Err(Error::Format),
            None => (text, None),
        };
        let (domain, remainder) = split_domain(rest);
        // A colon after the last slash begins a tag.
        let (path, tag) = match remainder.rsplit_once(':') {
            Some((path, tag)) if is_tag(tag) => (path, Some(tag.to_owned())),
            Some(_) => return Err(Error::Format),
            None => (remainder, None),
        };
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(Error::Uppercase);
        }
        if !is_domain(domain) || !path.split('/').all(is_path_component) {
            return Err(Error::Format);
        }
        let official = domain == "docker.io" && !path.contains('/');
        let path = if official { format!("library/{path}") } else { path.to_owned() };
        if domain.len() + 1 + path.len() > 255 {
            return Err(Error::TooLong);
        }
        if let Some(digest) = &digest {
            check_digest(digest)?;
        }
        let tag = if tag.is_none() && digest.is_none() { Some("latest".to_owned()) } else { tag };
        Ok(Reference { domain: domain.to_owned(), path, tag, digest })
    }

    /// `domain/path`, without tag and digest.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

/// The full form of a reference; a text that is none is given back as it is.
pub fn familiar(text: &str) -> String {
    Reference::parse(text).map_or_else(|_| text.to_owned(), |reference| reference.to_string())
}

/// The part before the first slash is a domain if it looks like one; else the name is Docker Hub's.
fn split_domain(name: &str) -> (&str, &str) {
    let Some((first, rest)) = name.split_once('/') else { return ("docker.io", name) };
    let looks_like_domain = first.contains(['.', ':']) || first == "localhost" || first.to_lowercase() != first;
    match (looks_like_domain, first) {
        (false, _) => ("docker.io", name),
        (true, "index.docker.io") => ("docker.io", rest),
        (true, _) => (first, rest),
    }
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !domain.ends_with(']') => (host, Some(port)),
        _ => (domain, None),
    };
    let port_fits = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_fits = match address {
        Some(address) => address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':'),
        None => host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        }),
    };
    port_fits && host_fits
}

/// Lower-case words, separated by one dot, one or two underscores, or any number of dashes.
fn is_path_component(component: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !is_word(*first) || !is_word(*last) {
        return false;
    }
    let mut separator = Vec::new();
    for byte in bytes {
        if is_word(*byte) {
            let fits = matches!(separator.as_slice(), [] | [b'.'] | [b'_'] | [b'_', b'_'])
                || separator.iter().all(|byte| *byte == b'-');
            if !fits {
                return false;
            }
            separator.clear();
        } else if matches!(byte, b'.' | b'_' | b'-') {
            separator.push(*byte);
        } else {
            return false;
        }
    }
    true
}

fn is_tag(tag: &str) -> bool {
    let mut bytes = tag.bytes();
    let begins = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    begins && tag.len() <= 128 && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else { return false };
    let algorithm_fits = algorithm.starts_with(|first: char| first.is_ascii_alphabetic())
        && algorithm.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'.' | b'-' | b'_'));
    algorithm_fits && hex.len() >= 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What follows the grammar may still be no digest that anything can have.
fn check_digest(digest: &str) -> Result<(), Error> {
    let (algorithm, hex) = digest.split_once(':').ok_or(Error::DigestFormat)?;
    let digits = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return Err(Error::DigestAlgorithm),
    };
    if hex.len() != digits {
        return Err(Error::DigestLength);
    }
    if hex.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(Error::DigestFormat);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_docker_reads_them() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let table = [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:alpine", "docker.io/library/nginx:alpine"),
            ("user/app", "docker.io/user/app:latest"),
            ("index.docker.io/user/app:1", "docker.io/user/app:1"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/a/b:v1", "localhost:5000/a/b:v1"),
            ("127.0.0.1:5000/app", "127.0.0.1:5000/app:latest"),
            ("[::1]:5000/app", "[::1]:5000/app:latest"),
            ("ghcr.io/o/a__b-c.d", "ghcr.io/o/a__b-c.d:latest"),
        ];
        for (text, want) in table {
            assert_eq!(Reference::parse(text).map(|reference| reference.to_string()), Ok(want.to_owned()), "{text}");
        }
        let pinned = Reference::parse(&format!("nginx@{digest}")).expect("a digest reference");
        assert_eq!(pinned.to_string(), format!("docker.io/library/nginx@{digest}"));
    }

    #[test]
    fn texts_that_are_no_references_are_refused() {
        let table = [
            ("", Error::Format),
            ("Nginx", Error::Uppercase),
            ("nginx:", Error::Format),
            ("nginx:a b", Error::Format),
            (":alpine", Error::Format),
            ("a//b", Error::Format),
            ("-a", Error::Format),
            ("a..b", Error::Format),
            ("a___b", Error::Format),
            ("nginx@sha256:short", Error::Format),
            ("http://registry/x", Error::Format),
        ];
        for (text, want) in table {
            assert_eq!(Reference::parse(text), Err(want), "{text:?}");
        }
        let digests = [
            ("sha256", "a".repeat(40), Error::DigestLength),
            ("sha256", "A".repeat(64), Error::DigestFormat),
            ("md5", "a".repeat(32), Error::DigestAlgorithm),
        ];
        for (algorithm, hex, want) in digests {
            assert_eq!(Reference::parse(&format!("nginx@{algorithm}:{hex}")), Err(want), "{algorithm}:{hex}");
        }
        assert_eq!(Reference::parse(&"a".repeat(64)), Err(Error::Identifier));
        assert_eq!(Reference::parse(&"x".repeat(256)), Err(Error::TooLong));
    }
}
