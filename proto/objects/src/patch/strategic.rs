//! Strategic merge patch: merge patch that knows which lists are sets and which are maps by a key.
//!
//! The rules come from the kind's schema through [`PatchRules`]. The directives are `$patch` (replace, delete, merge),
//! `$setElementOrder/<list>`, `$deleteFromPrimitiveList/<list>` and `$retainKeys`
//! (sig-api-machinery's strategic-merge-patch.md and strategic-merge-patch-retain-keys).

use serde_json::{Map, Value};

use super::Error;
use order::enforce_order;

mod order;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_PREFIX: &str = "$deleteFromPrimitiveList/";
const ORDER_PREFIX: &str = "$setElementOrder/";

/// How a field's present value and the patch's become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListStrategy {
    /// The patch's list replaces the present one; maps merge.
    #[default]
    Atomic,
    /// Lists merge: as sets, or by the merge key; maps merge.
    Merge,
    /// Lists and maps are replaced whole.
    Replace,
}

/// What a schema says of one field.
#[derive(Clone, Debug)]
pub struct FieldRule<R> {
    pub strategy: ListStrategy,
    pub merge_key: Option<String>,
    /// The rules inside the field: of the map, or of a list's items. `None` where nothing is known (a map of texts).
    pub inner: Option<R>,
}

/// The patch rules of an object's type.
pub trait PatchRules: Sized {
    /// The rule of the field with this JSON name; `None` for a field that the type does not have.
    fn field(&self, name: &str) -> Option<FieldRule<Self>>;
}

/// Applies `patch` to `object`, which is as it was if that fails.
pub fn strategic_merge<R: PatchRules>(object: &mut Value, patch: &Value, rules: &R) -> Result<(), Error> {
    let (Value::Object(original), Value::Object(patch)) = (&*object, patch) else {
        return Err(malformed("invalid JSON document"));
    };
    let merged = merge_maps(original.clone(), patch.clone(), Some(rules))?;
    *object = Value::Object(merged);
    Ok(())
}

fn malformed(text: impl Into<String>) -> Error {
    Error::Malformed(text.into())
}

fn no_merge_key(item: &Map<String, Value>, key: &str) -> Error {
    let item = Value::Object(item.clone());
    malformed(format!("map: {item} does not contain declared merge key: {key}"))
}

fn rule_of<R: PatchRules>(rules: Option<&R>, field: &str) -> FieldRule<R> {
    // A field outside the schema merges as a merge patch would: decoding judges it afterwards.
    rules.and_then(|rules| rules.field(field)).unwrap_or(FieldRule {
        strategy: ListStrategy::Atomic,
        merge_key: None,
        inner: None,
    })
}

fn merge_maps<R: PatchRules>(
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
    rules: Option<&R>,
) -> Result<Map<String, Value>, Error> {
    if let Some(directive) = patch.shift_remove(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Map::new()),
            _ => Err(malformed(format!("unknown patch type: {directive} in map: {}", Value::Object(patch)))),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    merge_ordered_lists(&mut original, &mut patch, rules)?;
    for (key, value) in patch {
        let (field, deletes) = match key.strip_prefix(DELETE_PREFIX) {
            Some(field) => (field.to_owned(), true),
            None if key == DELETE_PREFIX.trim_end_matches('/') => {
                return Err(malformed("invalid patch format of primitive list"));
            }
            None => (key, false),
        };
        if value.is_null() {
            original.shift_remove(&field);
            continue;
        }
        let Some(present) = original.get_mut(&field) else {
            if !deletes {
                insert_new(&mut original, field, value);
            }
            continue;
        };
        let rule = rule_of(rules, &field);
        match (present.take(), value) {
            (Value::Object(present), Value::Object(value)) if rule.strategy != ListStrategy::Replace => {
                let merged = merge_maps(present, value, rule.inner.as_ref())?;
                original.insert(field, Value::Object(merged));
            }
            (Value::Array(present), Value::Array(value)) => {
                let merged = match (deletes, rule.strategy) {
                    (true, _) => delete_from(present, &value)?,
                    (false, ListStrategy::Merge) => merge_lists(present, value, &rule)?,
                    (false, _) => value,
                };
                original.insert(field, Value::Array(merged));
            }
            (present, _) if deletes => {
                original.insert(field, present);
            }
            (_, value) => {
                insert_new(&mut original, field, value);
            }
        }
    }
    Ok(original)
}

/// A value that has nothing to merge with: without nulls and directives.
fn insert_new(original: &mut Map<String, Value>, field: String, mut value: Value) {
    discard_nulls(&mut value);
    if remove_directives(&mut value) {
        original.insert(field, value);
    } else {
        original.shift_remove(&field);
    }
}

fn discard_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(discard_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}

/// Whether the value stays at all.
fn remove_directives(value: &mut Value) -> bool {
    match value {
        Value::Object(fields) => {
            if fields.contains_key(DIRECTIVE) {
                return false;
            }
            fields.retain(|_, value| remove_directives(value));
            true
        }
        Value::Array(items) => {
            items.retain_mut(remove_directives);
            true
        }
        _ => true,
    }
}

fn retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), Error> {
    let Some(retained) = patch.shift_remove(RETAIN_KEYS) else { return Ok(()) };
    let bad_format = || malformed("invalid patch format of retainKeys");
    let retained = retained.as_array().ok_or_else(bad_format)?;
    let is_retained = |key: &str| retained.iter().any(|name| name.as_str() == Some(key));
    for (key, value) in patch.iter() {
        let directive = key.starts_with(DELETE_PREFIX) || key.starts_with(ORDER_PREFIX);
        if !value.is_null() && !directive && !is_retained(key) {
            return Err(bad_format());
        }
    }
    original.retain(|key, _| is_retained(key));
    Ok(())
}

/// Lists whose order the patch states: merged here, and taken out of the patch.
fn merge_ordered_lists<R: PatchRules>(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    rules: Option<&R>,
) -> Result<(), Error> {
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with("$setElementOrder")).cloned().collect();
    for directive in directives {
        let bad_format = || malformed("invalid patch format of setElementOrder list");
        let order = patch.shift_remove(&directive);
        let Some(Value::Array(order)) = order else { return Err(bad_format()) };
        let field = directive.strip_prefix(ORDER_PREFIX).ok_or_else(bad_format)?;
        let rule = rule_of(rules, field);
        let as_list = |value: &Value| value.as_array().cloned().ok_or_else(bad_format);
        let present = original.get(field).map(as_list).transpose()?;
        let patched = patch.get(field).map(as_list).transpose()?;
        if let Some(patched) = &patched {
            order::validate(patched, &order, rule.merge_key.as_deref())?;
        }
        let merged = match (present.clone(), patched) {
            (None, None) => continue,
            (Some(present), None) => present,
            (None, Some(patched)) => {
                let mut list = Value::Array(patched);
                remove_directives(&mut list);
                as_list(&list)?
            }
            (Some(present), Some(patched)) if rule.strategy == ListStrategy::Merge => {
                merge_lists(present, patched, &rule)?
            }
            (Some(_), Some(patched)) => patched,
        };
        let ordered = enforce_order(merged, &order, &present.unwrap_or_default(), rule.merge_key.as_deref())?;
        original.insert(field.to_owned(), Value::Array(ordered));
        patch.shift_remove(field);
    }
    Ok(())
}

fn delete_from(present: Vec<Value>, deleted: &[Value]) -> Result<Vec<Value>, Error> {
    if deleted.iter().any(|value| value.is_object() || value.is_array()) {
        return Err(malformed("invalid patch format of primitive list"));
    }
    Ok(present.into_iter().filter(|value| !deleted.contains(value)).collect())
}

fn merge_lists<R: PatchRules>(
    present: Vec<Value>,
    patch: Vec<Value>,
    rule: &FieldRule<R>,
) -> Result<Vec<Value>, Error> {
    if present.is_empty() && patch.is_empty() {
        return Ok(present);
    }
    let maps = one_type_of_elements(&present, &patch)?;
    if !maps {
        let mut merged = present.clone();
        for value in &patch {
            if !merged.contains(value) {
                merged.push(value.clone());
            }
        }
        return enforce_order(merged, &patch, &present, None);
    }
    let key = rule.merge_key.as_deref().ok_or_else(|| malformed("cannot merge lists without merge key"))?;
    let (base, patch) = apply_list_directives(present, patch, key)?;
    let mut merged = base.clone();
    for item in &patch {
        let Value::Object(item) = item else { return Err(malformed("list element types are not identical")) };
        let value = item.get(key).ok_or_else(|| no_merge_key(item, key))?;
        let found = merged.iter_mut().find(|candidate| candidate.get(key) == Some(value));
        match found {
            Some(candidate) => {
                let Value::Object(fields) = candidate.take() else {
                    return Err(malformed("list element types are not identical"));
                };
                *candidate = Value::Object(merge_maps(fields, item.clone(), rule.inner.as_ref())?);
            }
            None => {
                let mut added = Value::Object(item.clone());
                discard_nulls(&mut added);
                if remove_directives(&mut added) {
                    merged.push(added);
                }
            }
        }
    }
    enforce_order(merged, &patch, &base, Some(key))
}

/// Whether the elements are maps; lists of lists and mixed lists do not merge.
fn one_type_of_elements(present: &[Value], patch: &[Value]) -> Result<bool, Error> {
    let mut elements = present.iter().chain(patch);
    let Some(first) = elements.next() else { return Ok(false) };
    if first.is_array() {
        return Err(malformed("lists of lists are not supported"));
    }
    let kind = std::mem::discriminant(first);
    match elements.all(|element| std::mem::discriminant(element) == kind) {
        true => Ok(first.is_object()),
        false => Err(malformed("list element types are not identical")),
    }
}

/// Carries out `$patch` in a list's items: what is left of the present list, and of the patch.
fn apply_list_directives(
    mut present: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), Error> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut replace = false;
    for item in patch {
        let Some(directive) = item.get(DIRECTIVE) else {
            plain.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                let fields = item.as_object().cloned().unwrap_or_default();
                let value = fields.get(key).ok_or_else(|| no_merge_key(&fields, key))?;
                present.retain(|candidate| candidate.get(key) != Some(value));
            }
            Some("replace") => replace = true,
            Some("merge") => return Err(malformed("merging lists cannot yet be specified in the patch")),
            _ => return Err(malformed(format!("unknown patch type: {directive} in map: {item}"))),
        }
    }
    Ok(if replace { (plain, Vec::new()) } else { (present, plain) })
}

#[cfg(test)]
mod tests;
