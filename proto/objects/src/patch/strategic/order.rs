//! The order of a merged list.
//!
//! What the patch names stands in the patch's order; what only the server has keeps its place relative to its
//! neighbours of before.

use serde_json::Value;

use super::{DIRECTIVE, Error, malformed, no_merge_key};

/// What makes two elements the same: the merge key's value, or the element.
fn identity<'a>(element: &'a Value, key: Option<&str>) -> Option<&'a Value> {
    match key {
        Some(key) => element.get(key),
        None => Some(element),
    }
}

fn position(list: &[Value], element: &Value, key: Option<&str>) -> Option<usize> {
    let wanted = identity(element, key)?;
    list.iter().position(|candidate| identity(candidate, key) == Some(wanted))
}

/// The patch's list must be a subsequence of the order that the patch states.
pub(super) fn validate(patch: &[Value], order: &[Value], key: Option<&str>) -> Result<(), Error> {
    if order.is_empty() || patch.is_empty() {
        return Ok(());
    }
    let mut rest = order.iter();
    for element in patch.iter().filter(|element| element.get(DIRECTIVE).is_none()) {
        let wanted = identity(element, key);
        if !rest.any(|candidate| identity(candidate, key) == wanted) {
            return Err(malformed(format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                Value::from(patch.to_vec()),
                Value::from(order.to_vec())
            )));
        }
    }
    Ok(())
}

/// Brings `merged` into the order of `order`; elements that `order` does not name are placed by `present`.
pub(super) fn enforce_order(
    merged: Vec<Value>,
    order: &[Value],
    present: &[Value],
    key: Option<&str>,
) -> Result<Vec<Value>, Error> {
    let mut named: Vec<(usize, Value)> = Vec::new();
    let mut server_only: Vec<(usize, Value)> = Vec::new();
    for element in merged {
        if let (Some(key), Some(fields)) = (key, element.as_object())
            && !fields.contains_key(key)
        {
            return Err(no_merge_key(fields, key));
        }
        match position(order, &element, key) {
            Some(place) => named.push((place, element)),
            None => {
                let place = position(present, &element, key).unwrap_or(usize::MAX);
                server_only.push((place, element));
            }
        }
    }
    named.sort_by_key(|(place, _)| *place);
    server_only.sort_by_key(|(place, _)| *place);
    let place_before = |element: &Value| position(present, element, key);
    let mut named = named.into_iter().map(|(_, element)| element).peekable();
    let mut server_only = server_only.into_iter().map(|(_, element)| element).peekable();
    let mut ordered = Vec::new();
    // Two sorted rows become one: an element that only the server has goes first if it stood before the next named one.
    while let (Some(next), Some(other)) = (named.peek(), server_only.peek()) {
        let takes_named = match (place_before(next), place_before(other)) {
            (Some(next), Some(other)) => next < other,
            _ => true,
        };
        ordered.extend(if takes_named { named.next() } else { server_only.next() });
    }
    ordered.extend(named);
    ordered.extend(server_only);
    Ok(ordered)
}
