//! Reads the checked-in fact tables (`facts/README.md` describes the format) into [`Definitions`].

use std::collections::HashMap;

use serde_json::Value;

use super::builder::{BuildError, Builder};
use super::model::{Definitions, Field, FieldFlags, Name, Node, NodeId, Shape, Span, StaticDefault, TypeId, When};

/// Go types with an encoding of their own.
const SPECIAL: &[(&str, Shape)] = &[
    ("string", Shape::String),
    ("bool", Shape::Boolean),
    ("int", Shape::Integer64),
    ("int32", Shape::Integer32),
    ("int64", Shape::Integer64),
    ("float64", Shape::Number),
    ("Quantity", Shape::Quantity),
    ("IntOrString", Shape::IntOrString),
    ("Time", Shape::Time),
    ("MicroTime", Shape::MicroTime),
    ("RawExtension", Shape::RawObject),
    ("FieldsV1", Shape::FieldsV1),
    ("JSON", Shape::Json),
    ("JSONSchemaPropsOrArray", Shape::PropsOrArray),
    ("JSONSchemaPropsOrBool", Shape::PropsOrBool),
    ("JSONSchemaPropsOrStringArray", Shape::PropsOrStringArray),
];

/// Builds definitions from the joined tables of types and the table of defaults.
pub(super) fn read(types: &str, defaults: &str) -> Result<Definitions, BuildError> {
    let mut reader = Reader::default();
    reader.declare(types)?;
    reader.fill(types)?;
    reader.apply_defaults(defaults)?;
    reader.builder.finish()
}

/// What a table line stands in.
#[derive(Default, Clone)]
struct Scope {
    /// `apps.v1`, by which other tables refer to this one.
    key: String,
    /// `io.k8s.api.apps.v1`.
    package: String,
    group: String,
    version: String,
}

#[derive(Default)]
struct Reader {
    builder: Builder,
    /// `apps.v1/Deployment` to its type.
    structs: HashMap<String, TypeId>,
    /// `core.v1/Protocol` to what stands behind it: underlying type, allowed values.
    named: HashMap<String, (String, Vec<String>)>,
    packages: HashMap<String, String>,
}

impl Reader {
    fn declare(&mut self, text: &str) -> Result<(), BuildError> {
        let mut scope = Scope::default();
        for (line, row) in rows(text) {
            let (first, rest) = row.split_once(' ').unwrap_or((row, ""));
            match first {
                "package" | "group" => scope.enter(first, rest),
                "named" => {
                    let mut words = rest.splitn(3, ' ');
                    let (Some(name), Some(underlying)) = (words.next(), words.next()) else {
                        return Err(problem(line, "a named type needs a name and a type"));
                    };
                    let allowed = match words.next() {
                        Some(list) => serde_json::from_str(list).map_err(|error| problem(line, &error.to_string()))?,
                        None => Vec::new(),
                    };
                    self.named.insert(format!("{}/{name}", scope.key), (underlying.to_owned(), allowed));
                }
                "struct" => {
                    let name = rest.split(' ').next().unwrap_or_default();
                    let full = format!("{}.{name}", scope.package);
                    let go_name = format!("{}.{name}", scope.version);
                    let id = self.builder.declare(&full, &go_name)?;
                    if rest.split(' ').any(|word| word == "atomic") {
                        self.builder.type_mut(id).atomic = true;
                    }
                    self.structs.insert(format!("{}/{name}", scope.key), id);
                    self.packages.insert(scope.key.clone(), scope.package.clone());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn fill(&mut self, text: &str) -> Result<(), BuildError> {
        let mut scope = Scope::default();
        let mut current: Option<(TypeId, String, bool)> = None;
        let mut fields = Vec::new();
        for (line, row) in rows(text) {
            if let Some(row) = row.strip_prefix(' ') {
                fields.push(self.field(&scope, line, row)?);
                continue;
            }
            self.close(&scope, &mut current, &mut fields)?;
            let (first, rest) = row.split_once(' ').unwrap_or((row, ""));
            match first {
                "package" | "group" => scope.enter(first, rest),
                "struct" => {
                    let mut words = rest.split(' ');
                    let name = words.next().unwrap_or_default().to_owned();
                    let is_kind = words.any(|word| word == "kind");
                    current = self.structs.get(&format!("{}/{name}", scope.key)).map(|id| (*id, name, is_kind));
                }
                _ => {}
            }
        }
        self.close(&scope, &mut current, &mut fields)
    }

    fn close(
        &mut self,
        scope: &Scope,
        current: &mut Option<(TypeId, String, bool)>,
        fields: &mut Vec<Field>,
    ) -> Result<(), BuildError> {
        let Some((id, name, is_kind)) = current.take() else { return Ok(()) };
        // An ObjectReference has the kind of what it refers to; only what embeds TypeMeta has one of its own.
        let embeds_type_meta = fields.iter().any(|field| field.number == 0 && field.flags.has(FieldFlags::INLINE));
        if (is_kind && embeds_type_meta) || name == "WatchEvent" {
            self.builder.set_kind(id, &scope.group, &scope.version, &name)?;
        }
        self.builder.set_fields(id, std::mem::take(fields))
    }

    fn field(&mut self, scope: &Scope, line: usize, row: &str) -> Result<Field, BuildError> {
        if row == "+TypeMeta" {
            let id = self.structs.get("meta.v1/TypeMeta").ok_or_else(|| problem(line, "no TypeMeta"))?;
            let node = self.builder.type_mut(*id).node;
            return Ok(blank(Name::default(), node, 0, FieldFlags::INLINE));
        }
        let (row, default) = match row.split_once(" default=") {
            Some((row, default)) => (row, Some(default)),
            None => (row, None),
        };
        let mut words = row.split(' ');
        let (Some(name), Some(number), Some(go_type)) = (words.next(), words.next(), words.next()) else {
            return Err(problem(line, "a field needs a name, a number and a type"));
        };
        let number = number.parse().map_err(|_| problem(line, "not a field number"))?;
        let pointer = go_type.strip_prefix('*');
        let node = self.node(scope, line, pointer.unwrap_or(go_type))?;
        let name = self.builder.name(if name == "-" { "" } else { name })?;
        let mut field = blank(name, node, number, FieldFlags::default());
        let mut optional = false;
        if pointer.is_some() {
            field.flags = field.flags.with(FieldFlags::POINTER);
        }
        for word in words {
            let flag = match word {
                "?" => FieldFlags::OMIT_EMPTY,
                "~" => FieldFlags::OMIT_ZERO,
                "inline" => FieldFlags::INLINE,
                "atomic" => FieldFlags::ATOMIC,
                "list=atomic" => FieldFlags::LIST_ATOMIC,
                "list=set" => FieldFlags::LIST_SET,
                "required" => FieldFlags::REQUIRED,
                "optional" => {
                    optional = true;
                    continue;
                }
                word => {
                    if let Some(keys) = word.strip_prefix("list=map:") {
                        field.keys = self.builder.names(keys.split(','))?;
                        FieldFlags::LIST_MAP
                    } else if let Some((strategy, key)) =
                        word.strip_prefix("patch=").and_then(|patch| patch.split_once(':'))
                    {
                        field.merge_key = self.builder.name(key)?;
                        strategy.split(',').fold(FieldFlags::default(), |flags, part| match part {
                            "merge" => flags.with(FieldFlags::PATCH_MERGE),
                            "retainKeys" => flags.with(FieldFlags::PATCH_RETAIN_KEYS),
                            _ => flags,
                        })
                    } else {
                        return Err(problem(line, &format!("unknown word {word:?}")));
                    }
                }
            };
            field.flags = field.flags.with(flag);
        }
        let inline = field.flags.has(FieldFlags::INLINE);
        if !inline && !optional && !field.flags.has(FieldFlags::OMIT_EMPTY) && !field.flags.has(FieldFlags::OMIT_ZERO) {
            field.flags = field.flags.with(FieldFlags::REQUIRED);
        }
        if let Some(default) = default {
            let value = serde_json::from_str(default).map_err(|error| problem(line, &error.to_string()))?;
            let replaces_zero = replaces_zero(&field, &value);
            field.default = self.builder.add_default(StaticDefault { value, when: When::Absent, replaces_zero });
        }
        Ok(field)
    }

    fn node(&mut self, scope: &Scope, line: usize, go_type: &str) -> Result<NodeId, BuildError> {
        if go_type == "[]byte" {
            return Ok(self.builder.plain(Shape::Bytes, 0));
        }
        if let Some(item) = go_type.strip_prefix("[]") {
            let inner = self.node(scope, line, item.trim_start_matches('*'))?;
            return Ok(self.builder.plain(Shape::List, inner.0));
        }
        if let Some(value) = go_type.strip_prefix("map[string]") {
            let inner = self.node(scope, line, value.trim_start_matches('*'))?;
            return Ok(self.builder.plain(Shape::Map, inner.0));
        }
        if let Some((_, shape)) = SPECIAL.iter().find(|(name, _)| *name == go_type) {
            // The unions around JSONSchemaProps know its node.
            let inner = match shape {
                Shape::PropsOrArray | Shape::PropsOrBool | Shape::PropsOrStringArray => {
                    let id = self.structs.get("apiextensions.v1/JSONSchemaProps");
                    self.builder.type_mut(*id.ok_or_else(|| problem(line, "no JSONSchemaProps"))?).node.0
                }
                _ => 0,
            };
            return Ok(self.builder.plain(*shape, inner));
        }
        if go_type == "UID" || go_type == "NodeName" {
            let go_name = self.builder.name(&format!("types.{go_type}"))?;
            let plain = self.builder.plain(Shape::String, 0);
            let node = Node { go_name, ..self.builder.node_at(plain) };
            return Ok(self.builder.node(node));
        }
        let full = if go_type.contains('/') { go_type.to_owned() } else { format!("{}/{go_type}", scope.key) };
        if let Some(id) = self.structs.get(&full) {
            return Ok(self.builder.type_mut(*id).node);
        }
        let Some((underlying, allowed)) = self.named.get(&full).cloned() else {
            return Err(problem(line, &format!("unknown type {full}")));
        };
        let (key, name) = full.split_once('/').unwrap_or((&scope.key, go_type));
        let home = Scope { key: key.to_owned(), ..Scope::default() };
        let inner = self.node(&home, line, &underlying)?;
        let is_basic = ["string", "[]", "map["].iter().any(|start| underlying.starts_with(start));
        if !is_basic {
            // `type A = B`: the same type under another name.
            return Ok(inner);
        }
        let version = key.rsplit('.').next().unwrap_or_default();
        let go_name = self.builder.name(&format!("{version}.{name}"))?;
        let allowed: Span = self.builder.names(allowed.iter().map(String::as_str))?;
        let wrapped = underlying == "[]string";
        let node = Node { go_name, allowed, wrapped, ..self.builder.node_at(inner) };
        Ok(self.builder.node(node))
    }

    /// Rows of the table of defaults: `TYPE FIELD VALUE [when SIBLING=VALUE,…] [when-no-other]`.
    fn apply_defaults(&mut self, text: &str) -> Result<(), BuildError> {
        for (line, row) in rows(text) {
            let (row, condition) = match row.strip_suffix(" when-no-other") {
                Some(row) => (row, "-no-other"),
                None => row.split_once(" when ").unwrap_or((row, "")),
            };
            let mut words = row.splitn(3, ' ');
            let (Some(of), Some(field), Some(value)) = (words.next(), words.next(), words.next()) else {
                return Err(problem(line, "a default needs a type, a field and a value"));
            };
            let value: Value = serde_json::from_str(value).map_err(|error| problem(line, &error.to_string()))?;
            let full = of
                .split_once('/')
                .and_then(|(key, name)| Some(format!("{}.{name}", self.packages.get(key)?)))
                .ok_or_else(|| problem(line, "unknown type"))?;
            let when = match condition {
                "" => When::Absent,
                "-no-other" => When::NoOther(*self.structs.get(of).ok_or_else(|| problem(line, "unknown type"))?),
                condition => self.condition(line, condition)?,
            };
            let target = *self.builder.field_mut(&full, field).ok_or_else(|| problem(line, "unknown field"))?;
            let replaces_zero = replaces_zero(&target, &value);
            let default = self.builder.add_default(StaticDefault { value, when, replaces_zero });
            if let Some(target) = self.builder.field_mut(&full, field) {
                // A default that the type itself declares is published; one that only the server knows is not.
                if target.default == 0 {
                    target.flags = target.flags.with(FieldFlags::HIDDEN_DEFAULT);
                }
                target.default = default;
            }
        }
        Ok(())
    }

    fn condition(&mut self, line: usize, text: &str) -> Result<When, BuildError> {
        let (sibling, values) = text.split_once('=').ok_or_else(|| problem(line, "a condition is FIELD=VALUE"))?;
        let values: Vec<Value> = values.split(',').map(|value| Value::String(value.to_owned())).collect();
        Ok(When::Sibling(self.builder.name(sibling)?, values))
    }
}

impl Scope {
    fn enter(&mut self, word: &str, rest: &str) {
        if word == "package" {
            self.package = rest.to_owned();
            let mut parts = rest.rsplit('.');
            let version = parts.next().unwrap_or_default();
            self.key = format!("{}.{version}", parts.next().unwrap_or_default());
        } else {
            let (group, version) = rest.split_once(' ').unwrap_or((rest, ""));
            self.group = if group == "-" { String::new() } else { group.to_owned() };
            self.version = version.to_owned();
        }
    }
}

/// A field that is no pointer cannot tell its zero value from absence, so a default that is not zero replaces zero.
fn replaces_zero(field: &Field, default: &Value) -> bool {
    let zero = match default {
        Value::Object(_) | Value::Array(_) => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(value) => !value,
        Value::Null => true,
    };
    !field.flags.has(FieldFlags::POINTER) && !zero
}

fn blank(name: Name, node: NodeId, number: u16, flags: FieldFlags) -> Field {
    Field { name, node, number, flags, merge_key: Name::default(), keys: Span::default(), default: 0 }
}

fn rows(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, row)| (index + 1, row))
        .filter(|(_, row)| !row.is_empty() && !row.starts_with('#'))
}

fn problem(line: usize, problem: &str) -> BuildError {
    BuildError::Line { line, problem: problem.to_owned() }
}
