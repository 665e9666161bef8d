//! What names may look like, each rule with the text that upstream answers with when it is broken.
//!
//! Every function returns the broken rules' texts, none if the value is good. The checks walk bytes: these rules run on
//! every label of every object, and the patterns are part of the texts only.

const ALPHANUMERIC_LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const DNS1035: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_VALUE: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";

const QUALIFIED_TEXT: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

pub const DNS1123_LABEL_MAX: usize = 63;
pub const DNS1123_SUBDOMAIN_MAX: usize = 253;
pub const LABEL_VALUE_MAX: usize = 63;

/// The text of a broken pattern, with examples.
pub fn pattern_text(rule: &str, pattern: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{rule} (regex used for validation is '{pattern}')");
    }
    let quoted: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{rule} (e.g. {}regex used for validation is '{pattern}')", quoted.join(" or "))
}

fn too_many_characters(limit: usize) -> String {
    format!("must be no more than {limit} characters")
}

fn too_many_bytes(limit: usize) -> String {
    format!("must be no more than {limit} bytes")
}

pub fn in_range_text(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

fn lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Whether `bytes` starts with `first`, ends with `last` and consists of `inner`.
fn shaped(bytes: &[u8], first: fn(u8) -> bool, inner: fn(u8) -> bool, last: fn(u8) -> bool) -> bool {
    match bytes {
        [] => false,
        [only] => first(*only),
        [head, middle @ .., tail] => first(*head) && last(*tail) && middle.iter().all(|byte| inner(*byte)),
    }
}

fn is_label(value: &str) -> bool {
    shaped(value.as_bytes(), lower_alphanumeric, |byte| lower_alphanumeric(byte) || byte == b'-', lower_alphanumeric)
}

fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_label)
}

fn is_qualified_part(value: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_alphanumeric();
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    shaped(value.as_bytes(), alphanumeric, inner, alphanumeric)
}

/// A label of RFC 1123: names of namespaces, containers, volumes, services since 1.36.
pub fn dns1123_label(value: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if value.len() > DNS1123_LABEL_MAX {
        broken.push(too_many_characters(DNS1123_LABEL_MAX));
    }
    if !is_label(value) {
        if is_subdomain(value) {
            broken.push("must not contain dots".to_owned());
        } else {
            broken.push(pattern_text(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
                ALPHANUMERIC_LABEL,
                &["my-name", "123-abc"],
            ));
        }
    }
    broken
}

/// A subdomain of RFC 1123: names of most objects.
pub fn dns1123_subdomain(value: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX {
        broken.push(too_many_characters(DNS1123_SUBDOMAIN_MAX));
    }
    if !is_subdomain(value) {
        broken.push(pattern_text(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            SUBDOMAIN,
            &["example.com"],
        ));
    }
    broken
}

/// A label of RFC 1035: names of services.
pub fn dns1035_label(value: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if value.len() > DNS1123_LABEL_MAX {
        broken.push(too_many_characters(DNS1123_LABEL_MAX));
    }
    let inner = |byte: u8| lower_alphanumeric(byte) || byte == b'-';
    if !shaped(value.as_bytes(), |byte| byte.is_ascii_lowercase(), inner, lower_alphanumeric) {
        broken.push(pattern_text(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
            DNS1035,
            &["my-name", "abc-123"],
        ));
    }
    broken
}

/// What `generateName` adds a suffix to: the rule `rule` judges it as if the suffix were there.
pub fn generated(rule: fn(&str) -> Vec<String>, prefix: &str) -> Vec<String> {
    match prefix.strip_suffix('-') {
        // A trailing dash is fine: more follows. The replacement keeps the length that the rule sees.
        Some(stem) if !stem.is_empty() => rule(&format!("{stem}a")),
        _ => rule(prefix),
    }
}

/// A name that can be one segment of a path: RBAC objects, for instance.
pub fn path_segment(value: &str) -> Vec<String> {
    if value == "." || value == ".." {
        return vec![format!("may not be '{value}'")];
    }
    ["/", "%"]
        .iter()
        .filter(|illegal| value.contains(*illegal))
        .map(|illegal| format!("may not contain '{illegal}'"))
        .collect()
}

/// A label's or an annotation's key, a taint's key, a resource's name: `[prefix/]name`.
pub fn qualified_name(value: &str) -> Vec<String> {
    let examples = ["MyName", "my.name", "123-abc"];
    let mut broken = Vec::new();
    let parts: Vec<&str> = value.split('/').collect();
    let name = match parts.as_slice() {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                broken.push("prefix part must be non-empty".to_owned());
            } else {
                broken.extend(dns1123_subdomain(prefix).into_iter().map(|text| format!("prefix part {text}")));
            }
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                pattern_text(QUALIFIED_TEXT, QUALIFIED, &examples)
            )];
        }
    };
    if name.is_empty() {
        broken.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_VALUE_MAX {
        broken.push(format!("name part {}", too_many_bytes(LABEL_VALUE_MAX)));
    }
    if !is_qualified_part(name) {
        broken.push(format!("name part {}", pattern_text(QUALIFIED_TEXT, QUALIFIED, &examples)));
    }
    broken
}

pub fn label_value(value: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if value.len() > LABEL_VALUE_MAX {
        broken.push(too_many_bytes(LABEL_VALUE_MAX));
    }
    if !value.is_empty() && !is_qualified_part(value) {
        broken.push(pattern_text(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            LABEL_VALUE,
            &["MyValue", "my_value", "12345"],
        ));
    }
    broken
}

/// An environment variable's name: any printable ASCII but `=` (KEP-4369).
pub fn env_var_name(value: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if value.is_empty() {
        broken.push("environment variable name must be non-empty".to_owned());
    }
    if !value.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'=') {
        broken.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .to_owned(),
        );
    }
    broken
}

pub fn c_identifier(value: &str) -> Vec<String> {
    let good = value
        .bytes()
        .enumerate()
        .all(|(index, byte)| byte == b'_' || byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit()));
    if good && !value.is_empty() {
        return Vec::new();
    }
    vec![pattern_text(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

/// A key of a ConfigMap or a Secret: it becomes a file's name.
pub fn config_map_key(value: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX {
        broken.push(too_many_characters(DNS1123_SUBDOMAIN_MAX));
    }
    let good = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if value.is_empty() || !good {
        broken.push(pattern_text(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match value {
        "." => broken.push("must not be '.'".to_owned()),
        ".." => broken.push("must not be '..'".to_owned()),
        value if value.starts_with("..") => broken.push("must not start with '..'".to_owned()),
        _ => {}
    }
    broken
}

pub fn port_number(port: i64) -> Vec<String> {
    match port {
        1..=65535 => Vec::new(),
        _ => vec![in_range_text(1, 65535)],
    }
}

/// A port's name (RFC 6335, lower case only).
pub fn port_name(value: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if value.len() > 15 {
        broken.push(too_many_characters(15));
    }
    if value.is_empty() || !value.bytes().all(|byte| lower_alphanumeric(byte) || byte == b'-') {
        broken.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !value.bytes().any(|byte| byte.is_ascii_lowercase()) {
        broken.push("must contain at least one letter (a-z)".to_owned());
    }
    if value.contains("--") {
        broken.push("must not contain consecutive hyphens".to_owned());
    }
    if value.starts_with('-') || value.ends_with('-') {
        broken.push("must not begin or end with a hyphen".to_owned());
    }
    broken
}

pub fn percent(value: &str) -> Vec<String> {
    let digits = value.strip_suffix('%').unwrap_or("");
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Vec::new();
    }
    vec![pattern_text(
        "a valid percent string must be a numeric string followed by an ending '%'",
        "[0-9]+%",
        &["1%", "93%"],
    )]
}

pub fn http_header_name(value: &str) -> Vec<String> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Vec::new();
    }
    vec![pattern_text(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

/// The alphabet of generated suffixes: no vowels and no look-alikes, as upstream chose it.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A random suffix of `length` characters.
pub fn random_suffix(length: usize) -> String {
    use rand::Rng;
    let mut random = rand::rng();
    (0..length).map(|_| SUFFIX_ALPHABET[random.random_range(0..SUFFIX_ALPHABET.len())] as char).collect()
}

/// `generateName` made into a name: the prefix, cut so that the whole has at most 63 characters, and five random ones.
pub fn generate(prefix: &str) -> String {
    const SUFFIX: usize = 5;
    let mut end = prefix.len().min(DNS1123_LABEL_MAX - SUFFIX);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &prefix[..end], random_suffix(SUFFIX))
}

/// A hash's digits as a name's part without vowels: how a pod template's hash becomes a label.
pub fn safe_encode(text: &str) -> String {
    text.bytes().map(|byte| SUFFIX_ALPHABET[byte as usize % SUFFIX_ALPHABET.len()] as char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_break_nothing() {
        let long = "a".repeat(63);
        for name in ["a", "my-name", "123-abc", long.as_str()] {
            assert!(dns1123_label(name).is_empty(), "{name}");
        }
        for name in ["a.b-c.d", "example.com"] {
            assert!(dns1123_subdomain(name).is_empty(), "{name}");
        }
        for name in ["app", "app.kubernetes.io/name", "A_b.c"] {
            assert!(qualified_name(name).is_empty(), "{name}");
        }
        for value in ["", "a", "A_b.c"] {
            assert!(label_value(value).is_empty(), "{value}");
        }
        assert!(env_var_name("1 strange name!").is_empty());
        assert!(port_name("http-2").is_empty());
        assert!(generated(dns1123_subdomain, "web-").is_empty());
    }

    #[test]
    fn broken_rules_answer_in_upstreams_words() {
        let label_text = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
        assert_eq!(dns1123_label("Bad_Name"), [label_text]);
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
        assert_eq!(dns1123_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
        assert_eq!(dns1123_subdomain("-x").len(), 1);
        assert_eq!(qualified_name("/x"), ["prefix part must be non-empty"]);
        assert_eq!(qualified_name("a/b/c").len(), 1);
        assert_eq!(qualified_name("").len(), 2);
        assert_eq!(env_var_name("a=b").len(), 1);
        assert_eq!(config_map_key(".."), ["must not be '..'"]);
        assert_eq!(port_number(0), ["must be between 1 and 65535, inclusive"]);
        assert_eq!(path_segment("a/b%"), ["may not contain '/'", "may not contain '%'"]);
    }

    #[test]
    fn generated_names_fit_a_label() {
        let name = generate(&"x".repeat(100));
        assert_eq!(name.len(), 63);
        assert!(dns1123_label(&name).is_empty());
    }
}
