//! The messages of a remote command session (KEP-4006): the first byte of each names its channel.
//!
//! Of the older protocols (k8s.io/apimachinery's `wsstream`), those with base64 in their names have text messages, whose
//! first character is the channel's digit and whose rest is in base64; those before v4 tell an error in words, and
//! success by nothing.

use actix_ws::{AggregatedMessage, Closed, Session};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use keelson_objects::status::StatusError;
use keelson_wire::node::TerminalSize;
use keelson_wire::node::exec_input::Input;
use serde_json::{Value, json};

pub const STDIN: u8 = 0;
pub const STDOUT: u8 = 1;
pub const STDERR: u8 = 2;
pub const ERROR: u8 = 3;
pub const RESIZE: u8 = 4;
/// From v5 on: the sender closes the channel that the next byte names.
pub const CLOSE: u8 = 255;

/// In order of preference; the last is for clients that offer none.
pub const PROTOCOLS: &[&str] = &[
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
];

/// How messages look in one of the protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    base64: bool,
    /// The end of a command is a Status in JSON.
    statuses: bool,
}

impl Dialect {
    pub fn of(protocol: &str) -> Self {
        Self {
            base64: protocol.contains("base64"),
            statuses: protocol.starts_with("v4.") || protocol.starts_with("v5."),
        }
    }

    /// A client's message as the agent takes it; None for what means nothing.
    pub fn input(self, message: &AggregatedMessage) -> Option<Input> {
        match message {
            AggregatedMessage::Binary(data) if !self.base64 => input(data),
            AggregatedMessage::Text(text) if self.base64 => {
                let (digit, rest) = text.as_bytes().split_first()?;
                let data = STANDARD.decode(rest).ok()?;
                input(&framed(digit.checked_sub(b'0')?, &data))
            }
            _ => None,
        }
    }

    pub async fn send(self, client: &mut Session, message: Bytes) -> Result<(), Closed> {
        match message.split_first() {
            Some((channel, data)) if self.base64 => {
                client.text(format!("{}{}", char::from(b'0' + channel), STANDARD.encode(data))).await
            }
            _ => client.binary(message).await,
        }
    }

    /// How a command ended, for the error channel; None where that is told by nothing.
    pub fn exit(self, code: i32) -> Option<Bytes> {
        let status = exit_status(code);
        if self.statuses {
            return Some(framed(ERROR, status.to_string().as_bytes()));
        }
        status["message"].as_str().map(|message| framed(ERROR, message.as_bytes()))
    }

    /// A session that failed instead of ending.
    pub fn failure(self, error: &StatusError) -> Bytes {
        let status = error.status();
        let text = if self.statuses { status.to_value().to_string() } else { status.message.clone() };
        framed(ERROR, text.as_bytes())
    }
}

fn input(message: &Bytes) -> Option<Input> {
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

pub fn framed(channel: u8, data: &[u8]) -> Bytes {
    let mut message = Vec::with_capacity(data.len() + 1);
    message.push(channel);
    message.extend_from_slice(data);
    message.into()
}

/// As clients read it from the error channel.
fn exit_status(code: i32) -> Value {
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
    }

    #[test]
    fn older_protocols_have_their_own_ways() {
        let text = |text: &str| AggregatedMessage::Text(text.to_owned().into());
        let binary = |data: &'static [u8]| AggregatedMessage::Binary(Bytes::from_static(data));
        let stdin = Some(Input::Stdin(Bytes::from_static(b"ls\n")));
        let [newest, v4, v4_base64, first, first_base64, unnamed] =
            PROTOCOLS.iter().map(|protocol| Dialect::of(protocol)).collect::<Vec<_>>()[..]
        else {
            panic!("six protocols")
        };
        for dialect in [newest, v4, first, unnamed] {
            assert_eq!(dialect.input(&binary(b"\0ls\n")), stdin);
            assert_eq!(dialect.input(&text("0bHMK")), None);
        }
        for dialect in [v4_base64, first_base64] {
            assert_eq!(dialect.input(&text("0bHMK")), stdin);
            for meaningless in ["", "0?", "/bHMK"] {
                assert_eq!(dialect.input(&text(meaningless)), None, "{meaningless:?}");
            }
        }
        assert_eq!(unnamed, first);
        assert_eq!(first.exit(0), None, "success is silence");
        let failed = first.exit(3).expect("a message");
        assert_eq!(failed.as_ref(), b"\x03command terminated with non-zero exit code: exit status 3");
        let error = StatusError::internal("the agent went");
        assert_eq!(first.failure(&error).slice(1..), error.status().message.as_bytes());
    }

    #[test]
    fn an_exit_code_is_a_cause() {
        assert_eq!(exit_status(0)["status"], "Success");
        let failed = exit_status(3);
        assert_eq!(failed["reason"], "NonZeroExitCode");
        assert_eq!(failed["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));
        let message = Dialect::of("v5.channel.k8s.io").exit(3).expect("a message");
        assert_eq!((message[0], serde_json::from_slice::<Value>(&message[1..]).ok()), (ERROR, Some(failed)));
    }
}
