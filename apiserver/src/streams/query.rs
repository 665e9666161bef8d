//! Query parameters of the connect options (PodLogOptions, PodExecOptions and the like).

pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(text: &str) -> Query {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Query(pairs.collect())
    }

    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// As upstream converts query texts: everything but `0`, `false` and nothing is true.
    pub fn flag(&self, name: &str) -> bool {
        let Some((_, value)) = self.0.iter().find(|(own, _)| own == name) else { return false };
        !matches!(value.to_ascii_lowercase().as_str(), "0" | "false")
    }

    /// `Err` is the text that is no number.
    pub fn int(&self, name: &str) -> Result<Option<i64>, String> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| text.to_owned()),
        }
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = |digit: Option<&u8>| digit.and_then(|digit| (*digit as char).to_digit(16));
        match (first, hex(tail.first()), hex(tail.get(1))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &tail[2..];
                continue;
            }
            (b'+', _, _) => bytes.push(b' '),
            (other, _, _) => bytes.push(*other),
        }
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read() {
        let query =
            Query::parse("command=sh&command=-c&command=echo%20a%2Bb+c&stdin=true&tty=false&stdout&tailLines=5&x=y");
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["sh", "-c", "echo a+b c"]);
        assert!(query.flag("stdin") && query.flag("stdout") && !query.flag("tty") && !query.flag("stderr"));
        assert_eq!(query.int("tailLines"), Ok(Some(5)));
        assert_eq!(query.int("missing"), Ok(None));
        assert_eq!(query.int("x"), Err("y".to_owned()));
        assert_eq!(decode("%zz%4"), "%zz%4");
    }
}
