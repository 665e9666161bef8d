//! A command that runs on while the test does, with what it prints.

use std::ffi::OsStr;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Result, eventually};

/// Killed when it is dropped.
pub struct Background {
    child: Child,
    printed: Arc<Mutex<String>>,
}

impl Background {
    pub fn start<Word: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: &[Word]) -> Result<Self> {
        let mut child = Command::new(program.as_ref())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run {}: {error}", program.as_ref().display()))?;
        let printed = Arc::<Mutex<String>>::default();
        let stdout = child.stdout.take().ok_or("standard output was piped")?;
        let stderr = child.stderr.take().ok_or("standard error was piped")?;
        collect(stdout, printed.clone());
        collect(stderr, printed.clone());
        Ok(Self { child, printed })
    }

    pub fn printed(&self) -> String {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has printed `text`; returns all that it printed.
    pub fn until(&self, text: &str) -> Result<String> {
        eventually(&format!("{text:?} is printed"), || {
            let printed = self.printed();
            if printed.contains(text) { Ok(printed) } else { Err(printed.into()) }
        })
    }
}

/// Ends with the command, which closes its end.
fn collect(mut source: impl Read + Send + 'static, printed: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = source.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..count]);
            printed.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
        }
    });
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
