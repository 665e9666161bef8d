//! Where an answer sends the one who asked: on, while it stays with the same host; a redirect elsewhere is an answer.
//!
//! The rules are those of upstream's probes, and with them of Go's HTTP client.

use url::Url;

/// More redirects than this are an error.
const MOST: usize = 10;

/// A redirect that leads nowhere: the place that it named, and why not there.
#[derive(Debug, PartialEq, Eq)]
pub struct DeadEnd {
    pub location: String,
    pub reason: String,
}

/// The URL to ask next, or None if the answer is the last. `asked` counts the requests so far.
pub fn next(url: &str, asked: usize, status: u16, location: Option<&str>) -> Result<Option<Url>, DeadEnd> {
    let Some(location) = location.filter(|location| !location.is_empty()) else { return Ok(None) };
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let dead_end = |reason: String| DeadEnd { location: location.to_owned(), reason };
    let from = Url::parse(url).map_err(|error| dead_end(error.to_string()))?;
    let to = from
        .join(location)
        .map_err(|error| dead_end(format!("failed to parse Location header \"{location}\": {error}")))?;
    if to.host_str() != from.host_str() {
        return Ok(None);
    }
    if asked >= MOST {
        return Err(dead_end(format!("stopped after {MOST} redirects")));
    }
    if !matches!(to.scheme(), "http" | "https") {
        return Err(dead_end(format!("unsupported protocol scheme \"{}\"", to.scheme())));
    }
    Ok(Some(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_followed_on_the_same_host() {
        let at = "http://10.0.0.1:8080/a/b?c";
        let table = [
            (302, Some("/d"), Some("http://10.0.0.1:8080/d")),
            (301, Some("d?e=f"), Some("http://10.0.0.1:8080/a/d?e=f")),
            (307, Some("https://10.0.0.1:9/"), Some("https://10.0.0.1:9/")),
            (308, Some("//10.0.0.1/x"), Some("http://10.0.0.1/x")),
            (302, Some("http://10.0.0.2:8080/d"), None),
            (302, Some("http://example.com/"), None),
            (302, None, None),
            (302, Some(""), None),
            (304, Some("/d"), None),
            (200, Some("/d"), None),
        ];
        for (status, location, want) in table {
            let next = next(at, 1, status, location).expect("no dead end");
            assert_eq!(next.as_ref().map(Url::as_str), want, "{status} {location:?}");
        }
    }

    #[test]
    fn dead_ends_are_named() {
        let at = "http://10.0.0.1/";
        let reason = |asked, location| next(at, asked, 302, Some(location)).expect_err("a dead end").reason;
        assert_eq!(reason(10, "/again"), "stopped after 10 redirects");
        assert_eq!(reason(1, "ftp://10.0.0.1/"), "unsupported protocol scheme \"ftp\"");
    }
}
