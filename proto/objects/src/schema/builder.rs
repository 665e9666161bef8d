//! Fills the arena of [`Definitions`]: interns names and nodes, then derives what readers look up.

use std::collections::HashMap;

use super::model::{
    Definitions, Field, FieldFlags, GroupVersionKind, Name, Node, NodeId, Property, Shape, Span, StaticDefault, Type,
    TypeId,
};

/// A schema source that cannot be built into definitions.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("schema source, line {line}: {problem}")]
    Line { line: usize, problem: String },
    #[error("schema at {path}: {problem}")]
    At { path: String, problem: String },
    #[error("schema is too large: {0}")]
    TooLarge(&'static str),
}

/// Builds one [`Definitions`].
#[derive(Default)]
pub(crate) struct Builder {
    definitions: Definitions,
    interned: HashMap<Box<str>, Name>,
    nodes: HashMap<Node, NodeId>,
}

impl Builder {
    pub fn name(&mut self, text: &str) -> Result<Name, BuildError> {
        if let Some(name) = self.interned.get(text) {
            return Ok(*name);
        }
        if text.len() > usize::from(u16::MAX) {
            return Err(BuildError::TooLarge("a name is longer than 65,535 bytes"));
        }
        let name = Name::new(self.definitions.pool.len(), text.len());
        self.definitions.pool.push_str(text);
        self.interned.insert(text.into(), name);
        Ok(name)
    }

    pub fn names<'t>(&mut self, texts: impl IntoIterator<Item = &'t str>) -> Result<Span, BuildError> {
        let start = self.definitions.names.len();
        for text in texts {
            let name = self.name(text)?;
            self.definitions.names.push(name);
        }
        span(start, self.definitions.names.len())
    }

    pub fn node(&mut self, node: Node) -> NodeId {
        let next = NodeId(u32::try_from(self.definitions.nodes.len()).expect("nodes are bounded by the source's size"));
        *self.nodes.entry(node).or_insert_with(|| {
            self.definitions.nodes.push(node);
            next
        })
    }

    /// A node without type name or limits.
    pub fn plain(&mut self, shape: Shape, inner: u32) -> NodeId {
        self.node(Node { shape, inner, go_name: Name::default(), allowed: Span::default(), wrapped: false })
    }

    pub fn node_at(&self, id: NodeId) -> Node {
        *self.definitions.node(id)
    }

    /// Makes room for an object type, to be filled later: types refer to each other in circles.
    pub fn declare(&mut self, name: &str, go_name: &str) -> Result<TypeId, BuildError> {
        let id = TypeId(u32::try_from(self.definitions.types.len()).expect("types are bounded by the source's size"));
        let node = self.plain(Shape::Object, id.0);
        let declared = Type { name: self.name(name)?, go_name: self.name(go_name)?, node, ..Type::default() };
        self.definitions.types.push(declared);
        if !name.is_empty() {
            self.definitions.by_name.insert(name.into(), id);
        }
        Ok(id)
    }

    pub fn set_kind(&mut self, id: TypeId, group: &str, version: &str, kind: &str) -> Result<(), BuildError> {
        let gvk = GroupVersionKind { group: self.name(group)?, version: self.name(version)?, kind: self.name(kind)? };
        self.type_mut(id).kind = Some(gvk);
        self.definitions.by_kind.entry(kind.into()).or_default().push(id);
        Ok(())
    }

    pub fn type_mut(&mut self, id: TypeId) -> &mut Type {
        &mut self.definitions.types[id.0 as usize]
    }

    pub fn set_fields(&mut self, id: TypeId, mut fields: Vec<Field>) -> Result<(), BuildError> {
        fields.sort_by_key(|field| field.number);
        let start = self.definitions.fields.len();
        self.definitions.fields.append(&mut fields);
        self.type_mut(id).fields = span(start, self.definitions.fields.len())?;
        Ok(())
    }

    /// Finds a field of a type that is filled already, to add a default.
    pub fn field_mut(&mut self, type_name: &str, field: &str) -> Option<&mut Field> {
        let id = *self.definitions.by_name.get(type_name)?;
        let range = self.definitions.type_of(id).fields.range();
        let index = range.into_iter().find(|index| {
            let name = self.definitions.fields[*index].name;
            self.definitions.text(name) == field
        })?;
        Some(&mut self.definitions.fields[index])
    }

    /// Stores a default and returns what `Field::default` says of it.
    pub fn add_default(&mut self, default: StaticDefault) -> u32 {
        self.definitions.defaults.push(default);
        u32::try_from(self.definitions.defaults.len()).expect("defaults are bounded by the source's size")
    }

    pub fn finish(mut self) -> Result<Definitions, BuildError> {
        for index in 0..self.definitions.types.len() {
            self.index_properties(index)?;
        }
        mark_defaults(&mut self.definitions);
        self.definitions.pool.shrink_to_fit();
        self.definitions.nodes.shrink_to_fit();
        self.definitions.fields.shrink_to_fit();
        self.definitions.properties.shrink_to_fit();
        Ok(self.definitions)
    }

    fn index_properties(&mut self, index: usize) -> Result<(), BuildError> {
        let definitions = &self.definitions;
        let mut properties = Vec::new();
        let mut has_protobuf = true;
        let mut pending = vec![definitions.types[index].fields];
        while let Some(fields) = pending.pop() {
            for place in fields.range() {
                let field = &definitions.fields[place];
                if field.flags.has(FieldFlags::INLINE) {
                    let inner = TypeId(definitions.node(field.node).inner);
                    pending.push(definitions.type_of(inner).fields);
                    continue;
                }
                has_protobuf &= field.number != 0;
                let place = u32::try_from(place).map_err(|_| BuildError::TooLarge("too many fields"))?;
                properties.push(Property { name: field.name, field: place });
            }
        }
        properties.sort_by(|left, right| definitions.text(left.name).cmp(definitions.text(right.name)));
        let start = self.definitions.properties.len();
        self.definitions.properties.append(&mut properties);
        let end = self.definitions.properties.len();
        let target = &mut self.definitions.types[index];
        target.properties = span(start, end)?;
        target.has_protobuf = has_protobuf;
        Ok(())
    }
}

fn span(start: usize, end: usize) -> Result<Span, BuildError> {
    let start_row = u32::try_from(start).map_err(|_| BuildError::TooLarge("too many rows"))?;
    let length = u16::try_from(end - start).map_err(|_| BuildError::TooLarge("more than 65,535 rows in one type"))?;
    Ok(Span { start: start_row, length })
}

/// Marks each type below which some default applies, until nothing changes: types refer to each other in circles.
fn mark_defaults(definitions: &mut Definitions) {
    loop {
        let marked: Vec<bool> = definitions.types.iter().map(|of| has_defaults(definitions, of)).collect();
        let changed = definitions.types.iter().zip(&marked).any(|(of, marked)| of.defaults_below != *marked);
        for (of, marked) in definitions.types.iter_mut().zip(marked) {
            of.defaults_below = marked;
        }
        if !changed {
            return;
        }
    }
}

fn has_defaults(definitions: &Definitions, of: &Type) -> bool {
    let below = |mut node: NodeId| {
        loop {
            let row = definitions.node(node);
            match row.shape {
                Shape::List | Shape::Map => node = NodeId(row.inner),
                Shape::Object => return definitions.type_of(TypeId(row.inner)).defaults_below,
                _ => return false,
            }
        }
    };
    of.additional.is_some_and(below)
        || definitions.properties[of.properties.range()].iter().any(|property| {
            let field = definitions.field(property.field);
            field.default != 0 || below(field.node)
        })
}
