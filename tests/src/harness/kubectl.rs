//! The real kubectl.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Background, Output, Result, run};

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

    /// Every kubectl that sessions are to be held with: the programs that KUBECTLS names, separated by colons, or the
    /// one that [`find`](Self::find) would take.
    pub fn programs() -> Vec<PathBuf> {
        match std::env::var_os("KUBECTLS") {
            Some(programs) => std::env::split_paths(&programs).filter(|path| !path.as_os_str().is_empty()).collect(),
            None => vec![std::env::var_os("KUBECTL").map_or_else(|| PathBuf::from("kubectl"), PathBuf::from)],
        }
    }

    /// The same cluster and namespace, by another program.
    pub fn by(&self, program: &Path) -> Self {
        Self { program: program.to_owned(), ..self.clone() }
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
        run(&self.program, &self.arguments(words), input)
    }

    fn arguments(&self, words: &[&str]) -> Vec<String> {
        let place =
            ["--kubeconfig", &self.kubeconfig.display().to_string(), "--namespace", &self.namespace].map(str::to_owned);
        place.into_iter().chain(words.iter().map(|&word| word.to_owned())).collect()
    }

    /// A kubectl that runs on: a watch, a followed log, a forwarded port.
    pub fn background(&self, words: &str) -> Result<Background> {
        let words: Vec<&str> = words.split_whitespace().collect();
        Background::start(&self.program, &self.arguments(&words))
    }

    /// Runs kubectl on a terminal of 33 rows and 77 columns, into which `input` is typed.
    pub fn on_a_terminal(&self, words: &str, input: &str) -> Result<Output> {
        let words: Vec<&str> = words.split_whitespace().collect();
        let quoted = |word: &String| format!("'{}'", word.replace('\'', "'\\''"));
        let command: Vec<_> = std::iter::once(self.program.display().to_string())
            .chain(self.arguments(&words))
            .map(|word| quoted(&word))
            .collect();
        let line = format!("stty rows 33 cols 77; exec {}", command.join(" "));
        run("script", &["--quiet", "--return", "--command", &line, "/dev/null"], Some(input))
    }

    /// `kubectl edit` with a command as the editor.
    pub fn edit(&self, what: &str, editor: &str) -> Result<Output> {
        let editor = format!("KUBE_EDITOR={editor}");
        let mut words = vec![editor, self.program.display().to_string()];
        words.extend(self.arguments(&["edit", what]));
        run("env", &words, None)
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
