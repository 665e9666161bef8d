//! Configuration files: `--config FILE` names a YAML mapping that says the same things as the flags.
//!
//! `etcd-servers: [https://127.0.0.1:2379]` means `--etcd-servers=https://127.0.0.1:2379`; a list is joined with commas
//! as Kubernetes' flags are; for a flag without a value, `true` sets it and `false` leaves it out.
//! What stands on the command line wins, since it comes later.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser;
use serde_yaml_ng::Value;

/// A file that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the configuration file {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the configuration file {path} is not a YAML mapping of flag names to values: {reason}")]
    Form { path: PathBuf, reason: String },
}

/// Parses the process' arguments with the configuration file's before them, or ends the process with a usage error.
pub fn parse<Options: Parser>() -> Options {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match parse_from(arguments) {
        Ok(options) => options,
        Err(error) => error.exit(),
    }
}

/// Like [`parse`], from given arguments (the first is the program's name).
pub fn parse_from<Options: Parser>(arguments: Vec<OsString>) -> Result<Options, clap::Error> {
    let command = Options::command().args_override_self(true);
    let mut all = Vec::with_capacity(arguments.len());
    let mut given = arguments.into_iter();
    all.extend(given.next());
    let given: Vec<OsString> = given.collect();
    if let Some(path) = named_file(&given) {
        match flags_of(&path, &command) {
            Ok(flags) => all.extend(flags),
            Err(error) => {
                return Err(clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{error}\n")));
            }
        }
    }
    all.extend(given);
    let matches = command.try_get_matches_from(all)?;
    Options::from_arg_matches(&matches)
}

fn named_file(arguments: &[OsString]) -> Option<PathBuf> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        if text == "--config" {
            return arguments.next().map(PathBuf::from);
        }
        if let Some(path) = text.strip_prefix("--config=") {
            return Some(PathBuf::from(path));
        }
    }
    None
}

fn flags_of(path: &Path, command: &clap::Command) -> Result<Vec<OsString>, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let form = |reason: String| Error::Form { path: path.to_owned(), reason };
    let value: Value = serde_yaml_ng::from_str(&text).map_err(|error| form(error.to_string()))?;
    let mapping = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Mapping(mapping) => mapping,
        _ => return Err(form("the document is not a mapping".to_owned())),
    };
    let mut flags = Vec::new();
    for (key, value) in mapping {
        let Value::String(name) = key else {
            return Err(form("a key is not a string".to_owned()));
        };
        let Some(argument) = command.get_arguments().find(|argument| argument.get_long() == Some(&name)) else {
            return Err(form(format!("there is no flag --{name}")));
        };
        let takes_value = argument.get_action().takes_values();
        match value {
            Value::Null => {}
            Value::Bool(set) if !takes_value => {
                if set {
                    flags.push(format!("--{name}").into());
                }
            }
            value => flags.push(
                format!("--{name}={}", scalar(&value).map_err(|reason| form(format!("{name}: {reason}")))?).into(),
            ),
        }
    }
    Ok(flags)
}

fn scalar(value: &Value) -> Result<String, String> {
    match value {
        Value::Bool(value) => Ok(value.to_string()),
        Value::Number(value) => Ok(value.to_string()),
        Value::String(value) => Ok(value.clone()),
        Value::Sequence(items) => Ok(items.iter().map(scalar).collect::<Result<Vec<_>, _>>()?.join(",")),
        Value::Mapping(entries) => {
            let pairs = entries.iter().map(|(key, value)| Ok(format!("{}={}", scalar(key)?, scalar(value)?)));
            Ok(pairs.collect::<Result<Vec<_>, String>>()?.join(","))
        }
        Value::Null | Value::Tagged(_) => {
            Err("a flag's value is a string, a number, a boolean, a list or a mapping".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser, Debug)]
    struct Example {
        #[arg(long)]
        config: Option<PathBuf>,
        #[arg(long, value_delimiter = ',')]
        servers: Vec<String>,
        #[arg(long)]
        leader_elect: bool,
        #[arg(long, default_value_t = 1)]
        port: u16,
    }

    fn file(text: &str) -> (tempfile::NamedTempFile, Vec<OsString>) {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("written");
        let arguments = vec!["example".into(), format!("--config={}", file.path().display()).into()];
        (file, arguments)
    }

    #[test]
    fn a_file_says_what_flags_say_and_flags_win() {
        let (_file, mut arguments) = file("servers: [a, b]\nleader-elect: true\nport: 7\n");
        arguments.push("--port=8".into());
        let options: Example = parse_from(arguments).expect("parses");
        assert_eq!(options.servers, ["a", "b"]);
        assert!(options.leader_elect);
        assert_eq!(options.port, 8);
        assert!(options.config.is_some());
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let (_file, arguments) = file("sevrers: a\n");
        let error = parse_from::<Example>(arguments).expect_err("refused");
        assert!(error.to_string().contains("there is no flag --sevrers"), "{error}");
    }
}
