//! Commands as a person types them, with what they print.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};

use super::Result;

#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub fn succeeded(&self) -> bool {
        self.code == 0
    }
}

/// Runs a program to its end; any exit code is an answer.
pub fn run<Word: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: &[Word], input: Option<&str>) -> Result<Output> {
    let program = program.as_ref();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run {}: {error}", program.display()))?;
    if let Some(input) = input {
        let mut stdin = child.stdin.take().ok_or("standard input was piped")?;
        // A program that does not read to the end says why itself.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    Ok(Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
