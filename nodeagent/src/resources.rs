//! Quantities as plain numbers.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use keelson_objects::quantity;

fn parse(quantity: &Quantity) -> quantity::Quantity {
    // The API server lets no text through that is no quantity; zero is what upstream's readers make of one.
    quantity.0.parse().unwrap_or(quantity::Quantity::ZERO)
}

/// Thousandths, rounded up.
pub fn quantity_milli(quantity: &Quantity) -> i64 {
    parse(quantity).milli_value()
}

/// Whole units, rounded up.
pub fn quantity_value(quantity: &Quantity) -> i64 {
    parse(quantity).value()
}
