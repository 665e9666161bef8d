//! `resolvConf`: the DNS section of the result, read from a file in resolv.conf's format.

use std::path::Path;

use crate::protocol::{Dns, Error};

pub fn read(path: &Path) -> Result<Dns, Error> {
    let text =
        std::fs::read_to_string(path).map_err(|error| Error::io(format!("reading {}: {error}", path.display())))?;
    Ok(parse(&text))
}

fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace().map(str::to_string);
        match words.next().as_deref() {
            Some("nameserver") => dns.nameservers.extend(words.next()),
            Some("domain") => dns.domain = words.next().unwrap_or_default(),
            Some("search") => dns.search = words.collect(),
            Some("options") => dns.options.extend(words),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_search_line_counts_and_comments_do_not() {
        let dns = parse("# top\nnameserver 10.96.0.10 ; dns\nsearch a\nsearch b c\noptions ndots:5\n");
        assert_eq!(dns.nameservers, ["10.96.0.10"]);
        assert_eq!(dns.search, ["b", "c"]);
        assert_eq!(dns.options, ["ndots:5"]);
    }
}
