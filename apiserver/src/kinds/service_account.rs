//! ServiceAccount (core/v1).

use serde_json::Value;

use super::fields::{Fields, FieldsMut};
use crate::registry::{Cell, Column, Context, Kind, Strategy, Subresource, Verb};
use crate::subresources::token::IssueToken;
use crate::tables::cells;

pub fn kind() -> Kind {
    Kind::new("", "v1", "ServiceAccount", "serviceaccounts")
        .short_names(&["sa"])
        .columns(vec![
            cells::name_column(),
            Column::new(
                "Secrets",
                "string",
                "How many secrets the account may use.",
                Cell::Read(|account, _| account.items("secrets").len().into()),
            ),
            cells::age_column(),
        ])
        .subresource(Subresource::exchange(
            "token",
            ("authentication.k8s.io", "v1", "TokenRequest"),
            Verb::CREATE,
            IssueToken,
        ))
        .strategy(ServiceAccountStrategy)
}

struct ServiceAccountStrategy;

impl Strategy for ServiceAccountStrategy {
    /// Only the names of secrets mean anything.
    fn prepare_for_create(&self, _context: &Context<'_>, account: &mut Value) {
        keep_names(account);
    }

    fn prepare_for_update(&self, _context: &Context<'_>, account: &mut Value, _old: &Value) {
        keep_names(account);
    }
}

fn keep_names(account: &mut Value) {
    for secret in account.items_mut("secrets") {
        let name = secret.text("name").to_owned();
        *secret = serde_json::json!({ "name": name });
    }
}
