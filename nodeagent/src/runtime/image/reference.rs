//! Image references: what a pod writes, and what it stands for.

use oci_client::Reference;

use crate::images::reference as grammar;
use crate::runtime::Error;

/// `nginx` is `docker.io/library/nginx:latest`.
///
/// Read by our own grammar: the one of the client library is a regular expression that takes 18 MB to compile and
/// 9 MB to keep.
pub fn parse(text: &str) -> Result<Reference, Error> {
    let grammar::Reference { domain, path, tag, digest } = grammar::Reference::parse(text)
        .map_err(|error| Error::InvalidImageName { reference: text.to_string(), reason: error.to_string() })?;
    Ok(match (tag, digest) {
        (Some(tag), Some(digest)) => Reference::with_tag_and_digest(domain, path, tag, digest),
        (None, Some(digest)) => Reference::with_digest(domain, path, digest),
        (tag, None) => Reference::with_tag(domain, path, tag.unwrap_or_else(|| "latest".to_string())),
    })
}

/// How the image is called in containerd's store. A digest names it alone, as upstream has it.
pub fn name(reference: &Reference) -> String {
    let repository = repository(reference);
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => format!("{repository}@{digest}"),
        (None, tag) => format!("{repository}:{}", tag.unwrap_or("latest")),
    }
}

/// `docker.io/library/nginx`
pub fn repository(reference: &Reference) -> String {
    format!("{}/{}", reference.registry(), reference.repository())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_completed() {
        let table = [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:alpine", "docker.io/library/nginx:alpine"),
            ("someone/app", "docker.io/someone/app:latest"),
            ("127.0.0.1:5000/team/app:v1", "127.0.0.1:5000/team/app:v1"),
            (
                "ghcr.io/a/b:v1@sha256:0000000000000000000000000000000000000000000000000000000000000000",
                "ghcr.io/a/b@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(name(&parse(text).expect("a reference")), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in
            ["", "UPPER", "nginx:", "a b", "nginx@sha256:short", "nginx@md5:00000000000000000000000000000000", "-x/y:z"]
        {
            assert!(matches!(parse(text), Err(Error::InvalidImageName { .. })), "{text}");
        }
    }
}
