//! Where in an object a rule speaks: `spec.containers[0].env`, `metadata.labels[app]`.
//!
//! A path is a chain of borrowed segments on the stack, written out only when an error needs it, so that
//! validating a correct object allocates nothing.

use std::fmt;

#[derive(Clone, Copy)]
enum Segment<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

#[derive(Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    segment: Segment<'a>,
}

impl<'a> Path<'a> {
    pub const fn root(name: &'a str) -> Path<'a> {
        Path { parent: None, segment: Segment::Field(name) }
    }

    pub const fn child(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), segment: Segment::Field(name) }
    }

    pub const fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), segment: Segment::Index(index) }
    }

    pub const fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), segment: Segment::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.segment {
            // the object itself, as upstream writes a path without a name
            Segment::Field("") => f.write_str("[]"),
            Segment::Field(name) if self.parent.is_some() => write!(f, ".{name}"),
            Segment::Field(name) => f.write_str(name),
            Segment::Index(index) => write!(f, "[{index}]"),
            Segment::Key(key) => write!(f, "[{key}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_upstream_writes_them() {
        let spec = Path::root("spec");
        let containers = spec.child("containers");
        let second = containers.index(1);
        assert_eq!(second.child("env").to_string(), "spec.containers[1].env");
        let labels = Path::root("metadata");
        assert_eq!(labels.child("labels").key("a/b").to_string(), "metadata.labels[a/b]");
        assert_eq!(Path::root("").to_string(), "[]");
    }
}
