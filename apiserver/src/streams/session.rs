//! The messages of a remote command session (KEP-4006): the first byte of each names its channel.

use bytes::Bytes;
use keelson_objects::status::StatusError;
use keelson_wire::node::exec_input::Input;
use keelson_wire::node::exec_output::Output;
use keelson_wire::node::{ExecOutput, TerminalSize};
use serde_json::{Value, json};

pub const STDIN: u8 = 0;
pub const STDOUT: u8 = 1;
pub const STDERR: u8 = 2;
pub const ERROR: u8 = 3;
pub const RESIZE: u8 = 4;
/// From v5 on: the sender closes the channel that the next byte names.
pub const CLOSE: u8 = 255;

/// A client's message as the agent takes it; None for what means nothing.
pub fn input(message: &Bytes) -> Option<Input> {
    let channel = *message.first()?;
    let data = message.slice(1..);
    match channel {
        STDIN if data.is_empty() => None,
        STDIN => Some(Input::Stdin(data)),
        RESIZE => {
            let size: Value = serde_json::from_slice(&data).ok()?;
            let side = |name: &str| size[name].as_u64().and_then(|side| u32::try_from(side).ok());
            Some(Input::Resize(TerminalSize { width: side("Width")?, height: side("Height")? }))
        }
        CLOSE if *data == [STDIN] => Some(Input::StdinClosed(true)),
        _ => None,
    }
}

/// An agent's message for the client; the flag says that it is the last.
pub fn output(message: ExecOutput) -> Option<(Bytes, bool)> {
    match message.output? {
        Output::Stdout(data) => Some((framed(STDOUT, &data), false)),
        Output::Stderr(data) => Some((framed(STDERR, &data), false)),
        Output::ExitCode(code) => Some((framed(ERROR, exit_status(code).to_string().as_bytes()), true)),
    }
}

pub fn framed(channel: u8, data: &[u8]) -> Bytes {
    let mut message = Vec::with_capacity(data.len() + 1);
    message.push(channel);
    message.extend_from_slice(data);
    message.into()
}

/// How a command ended, as clients read it from the error channel.
pub fn exit_status(code: i32) -> Value {
    if code == 0 {
        return json!({ "metadata": {}, "status": "Success" });
    }
    json!({
        "metadata": {},
        "status": "Failure",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "reason": "NonZeroExitCode",
        "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
    })
}

/// A session that failed instead of ending.
pub fn failure(error: &StatusError) -> Bytes {
    framed(ERROR, error.status().to_value().to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_find_their_channels() {
        let input = |message: &[u8]| super::input(&Bytes::copy_from_slice(message));
        assert_eq!(input(b"\0ls\n"), Some(Input::Stdin(Bytes::from_static(b"ls\n"))));
        assert_eq!(
            input(b"\x04{\"Width\":80,\"Height\":24}"),
            Some(Input::Resize(TerminalSize { width: 80, height: 24 }))
        );
        assert_eq!(input(&[CLOSE, STDIN]), Some(Input::StdinClosed(true)));
        for meaningless in [&b""[..], b"\0", b"\x04nope", b"\x01x", &[CLOSE, STDOUT]] {
            assert_eq!(input(meaningless), None);
        }
        let (message, last) = output(ExecOutput { output: Some(Output::Stderr(Bytes::from_static(b"x"))) }).unwrap();
        assert_eq!((message.as_ref(), last), (&b"\x02x"[..], false));
    }

    #[test]
    fn an_exit_code_is_a_cause() {
        assert_eq!(exit_status(0)["status"], "Success");
        let failed = exit_status(3);
        assert_eq!(failed["reason"], "NonZeroExitCode");
        assert_eq!(failed["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));
        let (message, last) = output(ExecOutput { output: Some(Output::ExitCode(3)) }).unwrap();
        assert!(last && message[0] == ERROR);
    }
}
