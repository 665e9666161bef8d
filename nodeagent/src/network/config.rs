//! Network configurations: which one holds, and what each plugin of it is told.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::Error;

/// Files past this size are no network configurations.
const FILE_LIMIT: u64 = 1 << 20;

#[derive(Clone, Debug)]
pub struct NetworkList {
    pub name: String,
    pub cni_version: String,
    pub disable_check: bool,
    pub disable_gc: bool,
    pub plugins: Vec<Plugin>,
    /// As read, to be kept with an attachment.
    pub source: Value,
}

#[derive(Clone, Debug)]
pub struct Plugin {
    pub kind: String,
    config: Map<String, Value>,
}

impl NetworkList {
    /// The first valid file by name; `.conf` and `.json` hold one plugin, `.conflist` a chain.
    pub fn first(directory: &Path) -> Result<Self, Error> {
        let mut files = Vec::new();
        let missing = || Error::NoConfiguration { directory: directory.to_path_buf() };
        for entry in fs::read_dir(directory).map_err(|_| missing())? {
            let path = entry.map_err(Error::io("listing", directory))?.path();
            if matches!(path.extension().and_then(|extension| extension.to_str()), Some("conf" | "conflist" | "json")) {
                files.push(path);
            }
        }
        files.sort();

        let mut invalid = None;
        for path in files {
            match Self::read(&path) {
                Ok(list) => return Ok(list),
                Err(error) => invalid = invalid.or(Some(error)),
            }
        }
        Err(invalid.unwrap_or_else(missing))
    }

    fn read(path: &Path) -> Result<Self, Error> {
        let metadata = fs::metadata(path).map_err(Error::io("reading", path))?;
        if metadata.len() > FILE_LIMIT {
            return Err(Error::InvalidConfiguration(format!("{} is larger than {FILE_LIMIT} bytes", path.display())));
        }
        let text = fs::read(path).map_err(Error::io("reading", path))?;
        let source = serde_json::from_slice(&text)
            .map_err(|error| Error::InvalidConfiguration(format!("{}: {error}", path.display())))?;
        Self::parse(&source).map_err(|error| Error::InvalidConfiguration(format!("{}: {error}", path.display())))
    }

    pub fn parse(source: &Value) -> Result<Self, Error> {
        let text = |key: &str| source.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
        let flag = |key: &str| match source.get(key) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(flag)) => flag.eq_ignore_ascii_case("true"),
            _ => false,
        };
        let configs: Vec<&Value> = match source.get("plugins") {
            Some(Value::Array(plugins)) => plugins.iter().collect(),
            Some(_) => return Err(Error::InvalidConfiguration("plugins is not a list".into())),
            None => vec![source],
        };
        let mut plugins = Vec::with_capacity(configs.len());
        for config in configs {
            let object =
                config.as_object().ok_or_else(|| Error::InvalidConfiguration("a plugin is not an object".into()))?;
            let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
            if kind.is_empty() || kind.contains('/') {
                return Err(Error::InvalidConfiguration(format!("plugin type {kind:?} is not a name")));
            }
            plugins.push(Plugin { kind: kind.to_string(), config: object.clone() });
        }
        if plugins.is_empty() {
            return Err(Error::InvalidConfiguration("no plugins in the list".into()));
        }
        let name = text("name");
        if name.is_empty() {
            return Err(Error::InvalidConfiguration("no name".into()));
        }
        Ok(NetworkList {
            name,
            cni_version: text("cniVersion"),
            disable_check: flag("disableCheck"),
            disable_gc: flag("disableGC"),
            plugins,
            source: source.clone(),
        })
    }

    pub fn supports(&self, version: &str) -> bool {
        numbers(&self.cni_version) >= numbers(version)
    }
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

impl Plugin {
    /// What the plugin reads: its own configuration with the list's name and version, the result so far, and the
    /// values of the capabilities that it declares.
    pub fn request(&self, list: &NetworkList, previous: Option<&Value>, capabilities: &Value) -> Value {
        let mut config = self.config.clone();
        config.insert("name".into(), list.name.clone().into());
        config.insert("cniVersion".into(), list.cni_version.clone().into());
        if let Some(previous) = previous {
            config.insert("prevResult".into(), previous.clone());
        }
        let declared = config.remove("capabilities");
        if let (Some(Value::Object(declared)), Value::Object(values)) = (declared, capabilities) {
            let granted: Map<String, Value> = values
                .iter()
                .filter(|(name, _)| declared.get(*name) == Some(&Value::Bool(true)))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            if !granted.is_empty() {
                config.insert("runtimeConfig".into(), Value::Object(granted));
            }
        }
        Value::Object(config)
    }

    pub fn with_valid_attachments(mut request: Value, valid: &[Value]) -> Value {
        request["cni.dev/valid-attachments"] = json!(valid);
        request
    }
}
