//! The real kubectl.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Output, Result, run};

/// A kubectl that talks to one cluster, in one namespace. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    namespace: String,
}

impl Kubectl {
    /// The kubectl that KUBECTL names, or the one on the PATH.
    pub fn find(kubeconfig: &Path) -> Result<Self> {
        let program = std::env::var_os("KUBECTL").map_or_else(|| PathBuf::from("kubectl"), PathBuf::from);
        Ok(Self { program, kubeconfig: kubeconfig.to_owned(), namespace: "default".to_owned() })
    }

    pub fn within(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }

    /// Runs kubectl with words that are separated by blanks; any exit code is an answer.
    pub fn attempt(&self, words: &str, input: Option<&str>) -> Result<Output> {
        let words: Vec<&str> = words.split_whitespace().collect();
        self.attempt_words(&words, input)
    }

    /// Like [`attempt`](Self::attempt), for words that hold blanks.
    pub fn attempt_words(&self, words: &[&str], input: Option<&str>) -> Result<Output> {
        let mut all = vec![
            "--kubeconfig".to_owned(),
            self.kubeconfig.display().to_string(),
            "--namespace".to_owned(),
            self.namespace.clone(),
        ];
        all.extend(words.iter().map(|&word| word.to_owned()));
        run(&self.program, &all, input)
    }

    /// Runs kubectl and demands success; returns what it printed.
    pub fn run(&self, words: &str) -> Result<String> {
        demand(words, self.attempt(words, None)?)
    }

    pub fn run_words(&self, words: &[&str]) -> Result<String> {
        demand(&words.join(" "), self.attempt_words(words, None)?)
    }

    /// Applies or creates from standard input.
    pub fn feed(&self, words: &str, input: &str) -> Result<String> {
        demand(words, self.attempt(words, Some(input))?)
    }

    /// An object or a list in JSON.
    pub fn get(&self, what: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.run(&format!("get {what} --output=json"))?)?)
    }

    /// Runs kubectl, demands that it fails, and returns what it said.
    pub fn refused(&self, words: &str, input: Option<&str>) -> Result<String> {
        let output = self.attempt(words, input)?;
        if output.succeeded() {
            return Err(format!("kubectl {words} was to fail, but printed: {}", output.stdout).into());
        }
        Ok(output.stderr)
    }
}

fn demand(words: &str, output: Output) -> Result<String> {
    if output.succeeded() {
        return Ok(output.stdout);
    }
    Err(format!("kubectl {words} failed ({}): {}{}", output.code, output.stdout, output.stderr).into())
}
