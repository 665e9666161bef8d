//! The verbs of the API, as authorizers and discovery name them.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    Create,
    Delete,
    DeleteCollection,
    Get,
    List,
    Patch,
    Update,
    Watch,
}

impl Verb {
    /// What an ordinary kind allows, in discovery's (alphabetical) order.
    pub const ALL: &'static [Verb] = &[
        Verb::Create,
        Verb::Delete,
        Verb::DeleteCollection,
        Verb::Get,
        Verb::List,
        Verb::Patch,
        Verb::Update,
        Verb::Watch,
    ];

    /// Everything but `deletecollection`: namespaces and services.
    pub const NO_COLLECTION_DELETE: &'static [Verb] =
        &[Verb::Create, Verb::Delete, Verb::Get, Verb::List, Verb::Patch, Verb::Update, Verb::Watch];

    pub const CREATE: &'static [Verb] = &[Verb::Create];
    pub const GET: &'static [Verb] = &[Verb::Get];
    pub const UPDATE: &'static [Verb] = &[Verb::Update];
    pub const GET_PATCH_UPDATE: &'static [Verb] = &[Verb::Get, Verb::Patch, Verb::Update];

    pub fn name(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Patch => "patch",
            Verb::Update => "update",
            Verb::Watch => "watch",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
