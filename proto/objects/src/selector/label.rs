//! Label selectors: the string form of queries (`app in (a,b),!canary`) and the object form of specs.
//!
//! A [`Selector`] is a conjunction of requirements. Parsing answers with upstream's texts.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use super::super::field::{FieldError, Path, aggregate, quote};
use super::super::names;

mod parse;

pub use parse::parse;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    In,
    NotIn,
    Equals,
    DoubleEquals,
    NotEquals,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// A selector that does not parse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

/// Where labels come from: an object's JSON, or the map of a typed object.
pub trait Labels {
    fn label(&self, key: &str) -> Option<&str>;
}

impl Labels for BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl Labels for Map<String, Value> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }
}

impl<L: Labels> Labels for Option<L> {
    fn label(&self, key: &str) -> Option<&str> {
        self.as_ref()?.label(key)
    }
}

impl<L: Labels + ?Sized> Labels for &L {
    fn label(&self, key: &str) -> Option<&str> {
        (**self).label(key)
    }
}

/// The `metadata.labels` of a JSON object.
impl Labels for Value {
    fn label(&self, key: &str) -> Option<&str> {
        self.get("metadata")?.get("labels")?.get(key)?.as_str()
    }
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

impl Requirement {
    /// Judges key, values and their number; `path` is what errors name.
    pub fn new(key: String, operator: Operator, values: Vec<String>, path: &Path) -> Result<Requirement, Error> {
        let mut errors = Vec::new();
        let broken = names::qualified_name(&key);
        if !broken.is_empty() {
            errors.push(FieldError::invalid(&path.child("key"), key.as_str(), broken.join("; ")));
        }
        let values_path = path.child("values");
        let complaint = match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                Some("for 'in', 'notin' operators, values set can't be empty")
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                Some("exact-match compatibility requires one single value")
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                Some("values set must be empty for exists and does not exist")
            }
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
                Some("for 'Gt', 'Lt' operators, exactly one value is required")
            }
            _ => None,
        };
        if let Some(text) = complaint {
            errors.push(FieldError::invalid(&values_path, values.clone(), text));
        }
        for (index, value) in values.iter().enumerate() {
            let ordered = matches!(operator, Operator::GreaterThan | Operator::LessThan);
            if ordered && value.parse::<i64>().is_err() {
                let text = "for 'Gt', 'Lt' operators, the value must be an integer";
                errors.push(FieldError::invalid(&values_path.index(index), value.as_str(), text));
            }
            let broken = names::label_value(value);
            if !broken.is_empty() {
                let value_path = values_path.index(index).key(&key);
                errors.push(FieldError::invalid(&value_path, value.as_str(), broken.join("; ")));
            }
        }
        match errors.is_empty() {
            true => Ok(Requirement { key, operator, values }),
            false => Err(Error(aggregate(&errors))),
        }
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn operator(&self) -> Operator {
        self.operator
    }

    pub fn values(&self) -> &[String] {
        &self.values
    }

    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        let label = labels.label(&self.key);
        let listed = |label: &str| self.values.iter().any(|value| value == label);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => label.is_some_and(listed),
            Operator::NotIn | Operator::NotEquals => !label.is_some_and(listed),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let present = label.and_then(|label| label.parse::<i64>().ok());
                let limit = self.values.first().and_then(|value| value.parse::<i64>().ok());
                match (present, limit) {
                    (Some(present), Some(limit)) if self.operator == Operator::GreaterThan => present > limit,
                    (Some(present), Some(limit)) => present < limit,
                    _ => false,
                }
            }
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut values = self.values.clone();
        values.sort();
        let values = values.join(",");
        let key = &self.key;
        match self.operator {
            Operator::In => write!(formatter, "{key} in ({values})"),
            Operator::NotIn => write!(formatter, "{key} notin ({values})"),
            Operator::Equals => write!(formatter, "{key}={values}"),
            Operator::DoubleEquals => write!(formatter, "{key}=={values}"),
            Operator::NotEquals => write!(formatter, "{key}!={values}"),
            Operator::GreaterThan => write!(formatter, "{key}>{values}"),
            Operator::LessThan => write!(formatter, "{key}<{values}"),
            Operator::Exists => write!(formatter, "{key}"),
            Operator::DoesNotExist => write!(formatter, "!{key}"),
        }
    }
}

/// All requirements must hold. [`Selector::nothing`] holds for no object at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl Selector {
    pub fn everything() -> Selector {
        Selector { requirements: Vec::new(), nothing: false }
    }

    /// What an absent LabelSelector means.
    pub fn nothing() -> Selector {
        Selector { requirements: Vec::new(), nothing: true }
    }

    /// Sorted by key, so that equal selectors print alike.
    pub fn new(mut requirements: Vec<Requirement>) -> Selector {
        requirements.sort_by(|left, right| left.key.cmp(&right.key));
        Selector { requirements, nothing: false }
    }

    /// Exactly these labels, unjudged.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Selector {
        let exact = |(key, value): (&String, &String)| Requirement {
            key: key.clone(),
            operator: Operator::Equals,
            values: vec![value.clone()],
        };
        Selector::new(labels.into_iter().map(exact).collect())
    }

    /// The object form in JSON: `{matchLabels, matchExpressions}`; null selects nothing, an empty object everything.
    pub fn from_value(selector: &Value) -> Result<Selector, Error> {
        if selector.is_null() {
            return Ok(Selector::nothing());
        }
        let mut requirements = Vec::new();
        let match_labels = selector.get("matchLabels").and_then(Value::as_object);
        for (key, value) in match_labels.into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement::new(key.clone(), Operator::Equals, vec![value], &Path::root())?);
        }
        let expressions = selector.get("matchExpressions").and_then(Value::as_array);
        for expression in expressions.into_iter().flatten() {
            let text = |field: &str| expression.get(field).and_then(Value::as_str).unwrap_or_default();
            let values = expression.get("values").and_then(Value::as_array);
            let values: Vec<String> =
                values.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
            requirements.push(expression_requirement(text("key"), text("operator"), values)?);
        }
        Ok(Selector::new(requirements))
    }

    /// The object form from its parts, as typed objects hold them: `(matchLabels, [(key, operator, values)])`.
    pub fn from_parts<'a>(
        match_labels: impl IntoIterator<Item = (&'a String, &'a String)>,
        match_expressions: impl IntoIterator<Item = (&'a str, &'a str, &'a [String])>,
    ) -> Result<Selector, Error> {
        let mut requirements = Vec::new();
        for (key, value) in match_labels {
            requirements.push(Requirement::new(key.clone(), Operator::Equals, vec![value.clone()], &Path::root())?);
        }
        for (key, operator, values) in match_expressions {
            requirements.push(expression_requirement(key, operator, values.to_vec())?);
        }
        Ok(Selector::new(requirements))
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.matches(labels))
    }
}

fn expression_requirement(key: &str, operator: &str, values: Vec<String>) -> Result<Requirement, Error> {
    let operator = match operator {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => return Err(Error(format!("{} is not a valid label selector operator", quote(other)))),
    };
    Requirement::new(key.to_owned(), operator, values, &Path::root())
}

impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                formatter.write_str(",")?;
            }
            requirement.fmt(formatter)?;
        }
        Ok(())
    }
}

/// The rules of the object form, for objects that carry one: `path` is the selector's place.
pub fn validate(selector: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let labels_path = path.child("matchLabels");
    let match_labels = selector.get("matchLabels").and_then(Value::as_object);
    for (key, value) in match_labels.into_iter().flatten() {
        errors.extend(validate_key(key, &labels_path));
        let value = value.as_str().unwrap_or_default();
        let broken = names::label_value(value);
        errors.extend(broken.into_iter().map(|text| FieldError::invalid(&labels_path, value, text)));
    }
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    for (index, expression) in expressions.into_iter().flatten().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let text = |field: &str| expression.get(field).and_then(Value::as_str).unwrap_or_default();
        let values = expression.get("values").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        match text("operator") {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(&path.child("values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(&path.child("values"), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                errors.push(FieldError::invalid(&path.child("operator"), other, "not a valid selector operator"));
            }
        }
        errors.extend(validate_key(text("key"), &path.child("key")));
        for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
            let path = path.child("values").index(index);
            errors.extend(names::label_value(value).into_iter().map(|text| FieldError::invalid(&path, value, text)));
        }
    }
    errors
}

fn validate_key(key: &str, path: &Path) -> Vec<FieldError> {
    names::qualified_name(key).into_iter().map(|text| FieldError::invalid(path, key, text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_string_form_selects() {
        let present = labels(&[("app", "web"), ("tier", "2")]);
        let table = [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app!=web", false),
            ("app in (web,db)", true),
            ("app notin (web)", false),
            ("other notin (web)", true),
            ("app", true),
            ("!app", false),
            ("!other", true),
            ("tier>1", true),
            ("tier<2", false),
            ("app in (web, db), !other", true),
            ("app=web,other", false),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text).unwrap().matches(&present), expected, "{text}");
        }
    }

    #[test]
    fn the_object_form_selects() {
        let selector = json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "In", "values": ["1", "2"]}],
        });
        let selector = Selector::from_value(&selector).unwrap();
        assert!(selector.matches(&labels(&[("app", "web"), ("tier", "2")])));
        assert!(!selector.matches(&labels(&[("app", "web")])));
        assert_eq!(selector.to_string(), "app=web,tier in (1,2)");
        assert!(!Selector::from_value(&Value::Null).unwrap().matches(&labels(&[])));
        assert!(Selector::from_value(&json!({})).unwrap().matches(&labels(&[])));
    }

    #[test]
    fn an_invalid_object_form_names_its_fields() {
        let selector = json!({"matchExpressions": [{"key": "a", "operator": "In"}, {"key": "a", "operator": "Near"}]});
        let errors = validate(&selector, &Path::new("spec").child("selector"));
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                "spec.selector.matchExpressions[1].operator: Invalid value: \"Near\": not a valid selector operator",
            ]
        );
    }
}
