//! `$(NAME)` references in environment values, commands and arguments.
//!
//! The rules are Kubernetes' own (core/v1 `EnvVar.value`): `$(NAME)` is replaced when NAME is known and left as it
//! stands when it is not, `$$` is an escaped dollar, and everything else is taken literally.

/// Replaces the references in `text` with what `lookup` knows.
pub fn expand<'a>(text: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            expanded.push('$');
            rest = tail;
            continue;
        }
        let Some(body) = after.strip_prefix('(') else {
            expanded.push('$');
            rest = after;
            continue;
        };
        let Some(end) = body.find(')') else {
            // An open reference that never closes is literal text.
            expanded.push_str("$(");
            rest = body;
            continue;
        };
        let name = &body[..end];
        match lookup(name) {
            Some(value) => expanded.push_str(value),
            None => {
                expanded.push_str("$(");
                expanded.push_str(name);
                expanded.push(')');
            }
        }
        rest = &body[end + 1..];
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn references_are_replaced_by_kubernetes_rules() {
        let known = |name: &str| match name {
            "A" => Some("a"),
            "B" => Some("b"),
            "EMPTY" => Some(""),
            _ => None,
        };
        let table = [
            ("plain", "plain"),
            ("$(A)", "a"),
            ("$(A)$(B)", "ab"),
            ("x-$(A)-y", "x-a-y"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$a"),
            ("$$$$(A)", "$$(A)"),
            ("$(MISSING)", "$(MISSING)"),
            ("$(EMPTY)|", "|"),
            ("$(A", "$(A"),
            ("$A", "$A"),
            ("price: 5$", "price: 5$"),
            ("$(", "$("),
            ("$()", "$()"),
            ("${A}", "${A}"),
            ("é$(A)é", "éaé"),
        ];
        for (text, want) in table {
            assert_eq!(expand(text, known), want, "expanding {text:?}");
        }
    }
}
