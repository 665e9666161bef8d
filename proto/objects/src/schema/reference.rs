//! Handles on a schema: [`SchemaRef`] to walk with, [`OwnedSchema`] to keep.

use std::sync::Arc;

use serde_json::Value;

use super::model::{Definitions, Field, FieldFlags, ListType, Node, NodeId, PatchStrategy, Shape, TypeId};

const NO_FIELD: u32 = u32::MAX;

/// A place in a schema: a node, and the field that led to it. Copying it costs nothing.
#[derive(Clone, Copy, Debug)]
pub struct SchemaRef<'d> {
    definitions: &'d Definitions,
    node: NodeId,
    field: u32,
}

impl<'d> SchemaRef<'d> {
    pub(crate) fn of_type(definitions: &'d Definitions, id: TypeId) -> SchemaRef<'d> {
        SchemaRef { definitions, node: definitions.type_of(id).node, field: NO_FIELD }
    }

    pub(crate) fn of_node(definitions: &'d Definitions, node: NodeId) -> SchemaRef<'d> {
        SchemaRef { definitions, node, field: NO_FIELD }
    }

    pub(crate) fn of_field(definitions: &'d Definitions, field: u32) -> SchemaRef<'d> {
        SchemaRef { definitions, node: definitions.field(field).node, field }
    }

    pub(crate) fn definitions(self) -> &'d Definitions {
        self.definitions
    }

    pub(crate) fn node(self) -> &'d Node {
        self.definitions.node(self.node)
    }

    pub(crate) fn node_id(self) -> NodeId {
        self.node
    }

    pub(crate) fn type_id(self) -> Option<TypeId> {
        let node = self.node();
        (node.shape == Shape::Object).then_some(TypeId(node.inner))
    }

    pub(crate) fn field(self) -> Option<&'d Field> {
        (self.field != NO_FIELD).then(|| self.definitions.field(self.field))
    }

    fn flag(self, flag: FieldFlags) -> bool {
        self.field().is_some_and(|field| field.flags.has(flag))
    }

    pub fn shape(self) -> Shape {
        self.node().shape
    }

    /// A named property of an object.
    pub fn property(self, name: &str) -> Option<SchemaRef<'d>> {
        let index = self.definitions.find_property(self.type_id()?, name)?;
        Some(SchemaRef::of_field(self.definitions, index))
    }

    /// All properties of an object, ordered by name.
    pub fn properties(self) -> impl Iterator<Item = (&'d str, SchemaRef<'d>)> {
        let definitions = self.definitions;
        let properties = self.type_id().map(|id| definitions.properties_of(id)).unwrap_or_default();
        properties
            .iter()
            .map(move |property| (definitions.text(property.name), SchemaRef::of_field(definitions, property.field)))
    }

    /// The schema of a list's items.
    pub fn items(self) -> Option<SchemaRef<'d>> {
        let node = self.node();
        (node.shape == Shape::List).then(|| SchemaRef::of_node(self.definitions, NodeId(node.inner)))
    }

    /// The schema of the values under free keys.
    pub fn additional_properties(self) -> Option<SchemaRef<'d>> {
        let node = self.node();
        match node.shape {
            Shape::Map => Some(SchemaRef::of_node(self.definitions, NodeId(node.inner))),
            Shape::Object => {
                let additional = self.definitions.type_of(TypeId(node.inner)).additional?;
                Some(SchemaRef::of_node(self.definitions, additional))
            }
            _ => None,
        }
    }

    /// Unknown fields are kept (`x-kubernetes-preserve-unknown-fields`, or a value of any shape).
    pub fn preserves_unknown(self) -> bool {
        match self.type_id() {
            Some(id) => self.definitions.type_of(id).preserve_unknown,
            None => matches!(self.shape(), Shape::Json | Shape::RawObject | Shape::FieldsV1),
        }
    }

    pub fn patch_merge_key(self) -> Option<&'d str> {
        let key = self.field()?.merge_key;
        (!key.is_empty()).then(|| self.definitions.text(key))
    }

    pub fn patch_strategy(self) -> PatchStrategy {
        PatchStrategy {
            merge: self.flag(FieldFlags::PATCH_MERGE),
            retain_keys: self.flag(FieldFlags::PATCH_RETAIN_KEYS),
        }
    }

    /// Lists without a stated type are atomic.
    pub fn list_type(self) -> ListType {
        if self.flag(FieldFlags::LIST_MAP) {
            ListType::Map
        } else if self.flag(FieldFlags::LIST_SET) {
            ListType::Set
        } else {
            ListType::Atomic
        }
    }

    pub fn list_map_keys(self) -> impl Iterator<Item = &'d str> {
        let definitions = self.definitions;
        let keys = self.field().map(|field| &definitions.names[field.keys.range()]).unwrap_or_default();
        keys.iter().map(move |name| definitions.text(*name))
    }

    /// A map or object that server-side apply replaces as a whole.
    pub fn map_is_atomic(self) -> bool {
        self.flag(FieldFlags::ATOMIC) || self.type_id().is_some_and(|id| self.definitions.type_of(id).atomic)
    }

    pub fn is_required(self) -> bool {
        self.flag(FieldFlags::REQUIRED)
    }

    pub fn is_nullable(self) -> bool {
        self.flag(FieldFlags::NULLABLE)
    }

    /// The static default of the field.
    pub fn default_value(self) -> Option<&'d Value> {
        self.definitions.default_of(self.field()?).map(|default| &default.value)
    }

    /// The allowed values of a string, none when it is free.
    pub fn enum_values(self) -> impl Iterator<Item = &'d str> {
        let definitions = self.definitions;
        definitions.names[self.node().allowed.range()].iter().map(move |name| definitions.text(*name))
    }

    /// The OpenAPI name of an object's type.
    pub fn type_name(self) -> Option<&'d str> {
        Some(self.definitions.text(self.definitions.type_of(self.type_id()?).name))
    }

    /// Group, version and kind, for the type of a whole object.
    pub fn group_version_kind(self) -> Option<(&'d str, &'d str, &'d str)> {
        let gvk = self.definitions.type_of(self.type_id()?).kind?;
        let text = |name| self.definitions.text(name);
        Some((text(gvk.group), text(gvk.version), text(gvk.kind)))
    }
}

/// A schema to keep: of the built-in kinds, or of a custom resource definition that may go away.
#[derive(Clone, Debug)]
pub struct OwnedSchema {
    source: Source,
    node: NodeId,
}

#[derive(Clone, Debug)]
enum Source {
    Static(&'static Definitions),
    Shared(Arc<Definitions>),
}

impl OwnedSchema {
    pub(crate) fn shared(definitions: Arc<Definitions>, node: NodeId) -> OwnedSchema {
        OwnedSchema { source: Source::Shared(definitions), node }
    }

    pub fn as_ref(&self) -> SchemaRef<'_> {
        match &self.source {
            Source::Static(definitions) => SchemaRef::of_node(definitions, self.node),
            Source::Shared(definitions) => SchemaRef::of_node(definitions, self.node),
        }
    }
}

impl From<SchemaRef<'static>> for OwnedSchema {
    fn from(schema: SchemaRef<'static>) -> OwnedSchema {
        OwnedSchema { source: Source::Static(schema.definitions), node: schema.node }
    }
}
