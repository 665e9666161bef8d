//! The arena that holds schemas: types, fields and nodes are rows of flat tables, names are interned once.
//!
//! A *node* says what a value is (a string, a list of some node, an object of some type). A *type* is an object's
//! list of fields. A *field* adds what holds only at its place: name, protobuf number, list keys, default.

use std::collections::HashMap;

use serde_json::Value;

use super::reference::SchemaRef;

/// An interned name: its place in the text pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    start: u32,
    length: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TypeId(pub u32);

/// What a value is, as far as JSON, Go and protobuf tell values apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// An object with named properties.
    Object,
    /// An object with free keys, all values alike.
    Map,
    List,
    String,
    /// Base64 text in JSON, raw in protobuf.
    Bytes,
    Boolean,
    Integer32,
    Integer64,
    Number,
    IntOrString,
    Quantity,
    /// RFC 3339, whole seconds.
    Time,
    /// RFC 3339, microseconds.
    MicroTime,
    /// Any object of any kind (`runtime.RawExtension`).
    RawObject,
    /// The field set of server-side apply (`metav1.FieldsV1`).
    FieldsV1,
    /// Any JSON value.
    Json,
    /// `JSONSchemaProps` or a list of them.
    PropsOrArray,
    /// `JSONSchemaProps` or a boolean.
    PropsOrBool,
    /// `JSONSchemaProps` or a list of strings.
    PropsOrStringArray,
}

/// How a list is merged by server-side apply, and which items it may repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    Atomic,
    Set,
    Map,
}

/// `x-kubernetes-patch-strategy` of a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    pub merge: bool,
    pub retain_keys: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub shape: Shape,
    /// The item of a list or map; the type of an object; otherwise 0.
    pub inner: u32,
    /// The Go name of a named type (`v1.Protocol`), for error texts; empty for the plain type.
    pub go_name: Name,
    /// Allowed values, as a range of `Definitions::names`.
    pub allowed: Span,
    /// A named list of strings that protobuf wraps in a message (`metav1.Verbs`, `ExtraValue`).
    pub wrapped: bool,
}

/// A range of rows of another table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    pub start: u32,
    pub length: u16,
}

impl Span {
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.start as usize + usize::from(self.length)
    }
}

/// What holds for a field beyond its node, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldFlags(pub u16);

impl FieldFlags {
    /// A Go pointer: present and empty differ.
    pub const POINTER: FieldFlags = FieldFlags(1);
    pub const OMIT_EMPTY: FieldFlags = FieldFlags(1 << 1);
    pub const OMIT_ZERO: FieldFlags = FieldFlags(1 << 2);
    pub const REQUIRED: FieldFlags = FieldFlags(1 << 3);
    /// A struct embedded in JSON that is a message of its own in protobuf.
    pub const INLINE: FieldFlags = FieldFlags(1 << 4);
    pub const PATCH_MERGE: FieldFlags = FieldFlags(1 << 5);
    pub const PATCH_RETAIN_KEYS: FieldFlags = FieldFlags(1 << 6);
    pub const LIST_SET: FieldFlags = FieldFlags(1 << 7);
    pub const LIST_MAP: FieldFlags = FieldFlags(1 << 8);
    pub const LIST_ATOMIC: FieldFlags = FieldFlags(1 << 9);
    /// A map or object that server-side apply treats as one value.
    pub const ATOMIC: FieldFlags = FieldFlags(1 << 10);
    pub const NULLABLE: FieldFlags = FieldFlags(1 << 11);
    /// The default is Go's or an admission rule's and not written in the published OpenAPI.
    pub const HIDDEN_DEFAULT: FieldFlags = FieldFlags(1 << 12);

    pub fn has(self, other: FieldFlags) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn with(self, other: FieldFlags) -> FieldFlags {
        FieldFlags(self.0 | other.0)
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub name: Name,
    pub node: NodeId,
    /// The protobuf number; 0 where the type has no protobuf form.
    pub number: u16,
    pub flags: FieldFlags,
    pub merge_key: Name,
    /// List-map keys, as a range of `Definitions::names`.
    pub keys: Span,
    /// 1 + index into `Definitions::defaults`; 0 for none.
    pub default: u32,
}

/// A property as JSON shows it: embedded structs are flattened into their owner.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Property {
    pub name: Name,
    pub field: u32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Type {
    /// `io.k8s.api.apps.v1.DeploymentSpec`.
    pub name: Name,
    /// `v1.DeploymentSpec`, as Go prints it.
    pub go_name: Name,
    /// The node that stands for this type.
    pub node: NodeId,
    /// Own fields, ordered by protobuf number.
    pub fields: Span,
    /// JSON properties, ordered by name.
    pub properties: Span,
    pub kind: Option<GroupVersionKind>,
    pub atomic: bool,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserve_unknown: bool,
    /// Free keys beside the named properties (custom resources).
    pub additional: Option<NodeId>,
    /// Some property's default applies somewhere below; a walk for defaults can skip a type without.
    pub defaults_below: bool,
    /// Has a protobuf form: every field a number.
    pub has_protobuf: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupVersionKind {
    pub group: Name,
    pub version: Name,
    pub kind: Name,
}

/// A default, and when it holds.
#[derive(Clone, Debug)]
pub(crate) struct StaticDefault {
    pub value: Value,
    pub when: When,
    /// Set in place of Go's zero value too (an empty string, 0), for fields that cannot tell zero from absent.
    pub replaces_zero: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum When {
    Absent,
    /// A sibling field, itself defaulted before, has one of these values.
    Sibling(Name, Vec<Value>),
    /// No other member of this embedded union is set.
    NoOther(TypeId),
}

/// All schemas of one source: the built-in kinds, or those of one custom resource definition.
#[derive(Debug, Default)]
pub struct Definitions {
    pub(crate) pool: String,
    pub(crate) names: Vec<Name>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) fields: Vec<Field>,
    pub(crate) properties: Vec<Property>,
    pub(crate) types: Vec<Type>,
    pub(crate) defaults: Vec<StaticDefault>,
    pub(crate) by_name: HashMap<Box<str>, TypeId>,
    /// `kind` to the types that carry it; a handful a kind, told apart by group and version.
    pub(crate) by_kind: HashMap<Box<str>, Vec<TypeId>>,
}

impl Definitions {
    /// The schema of a kind; the core group is `""`. Kinds of apimachinery itself (`DeleteOptions`, `Status`,
    /// `WatchEvent`, …) answer in every group, as upstream registers them.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<SchemaRef<'_>> {
        let candidates = self.by_kind.get(kind)?;
        let named = |id: &&TypeId, wanted: (&str, &str)| {
            let gvk = self.types[id.0 as usize].kind;
            gvk.is_some_and(|gvk| (self.text(gvk.group), self.text(gvk.version)) == wanted)
        };
        let found = candidates
            .iter()
            .find(|id| named(id, (group, version)))
            .or_else(|| candidates.iter().find(|id| named(id, ("meta.k8s.io", "v1"))))?;
        Some(SchemaRef::of_type(self, *found))
    }

    /// The schemas of all kinds.
    pub fn kinds(&self) -> impl Iterator<Item = SchemaRef<'_>> {
        let kinds = self.types.iter().filter(|of| of.kind.is_some());
        kinds.map(|of| SchemaRef::of_node(self, of.node))
    }

    /// The schema of a definition by its OpenAPI name, such as `io.k8s.api.core.v1.PodSpec`.
    pub fn definition(&self, name: &str) -> Option<SchemaRef<'_>> {
        self.by_name.get(name).map(|id| SchemaRef::of_type(self, *id))
    }

    pub(crate) fn text(&self, name: Name) -> &str {
        &self.pool[name.start as usize..name.start as usize + usize::from(name.length)]
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub(crate) fn type_of(&self, id: TypeId) -> &Type {
        &self.types[id.0 as usize]
    }

    pub(crate) fn fields_of(&self, id: TypeId) -> &[Field] {
        &self.fields[self.type_of(id).fields.range()]
    }

    pub(crate) fn properties_of(&self, id: TypeId) -> &[Property] {
        &self.properties[self.type_of(id).properties.range()]
    }

    /// Index of the field behind a JSON property.
    pub(crate) fn find_property(&self, id: TypeId, name: &str) -> Option<u32> {
        let properties = self.properties_of(id);
        let place = properties.binary_search_by(|property| self.text(property.name).cmp(name)).ok()?;
        Some(properties[place].field)
    }

    pub(crate) fn field(&self, index: u32) -> &Field {
        &self.fields[index as usize]
    }

    pub(crate) fn default_of(&self, field: &Field) -> Option<&StaticDefault> {
        self.defaults.get((field.default as usize).checked_sub(1)?)
    }
}

impl Name {
    pub(crate) fn new(start: usize, length: usize) -> Name {
        Name {
            start: u32::try_from(start).expect("a pool of names stays below 4 GiB"),
            length: u16::try_from(length).expect("a name is shorter than 64 KiB, checked when it is added"),
        }
    }

    pub(crate) fn is_empty(self) -> bool {
        self.length == 0
    }
}
