//! `continue` tokens, in upstream's form: unpadded base64 of `{"v":"meta.k8s.io/v1","rv":...,"start":...}`.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use keelson_objects::status::StatusError;
use serde::{Deserialize, Serialize};

const VERSION: &str = "meta.k8s.io/v1";

#[derive(Debug, Serialize, Deserialize)]
struct Wire<'a> {
    v: &'a str,
    rv: i64,
    start: String,
}

/// Where the next page begins.
#[derive(Debug, PartialEq)]
pub(super) struct Token {
    /// The revision of the first page; -1 continues on the newest state (an inconsistent continuation).
    pub revision: i64,
    /// The first key that may be in the page.
    pub start: String,
}

impl Token {
    /// `after` is the last key that was served.
    pub fn after(revision: i64, after: &str) -> Token {
        Token { revision, start: format!("{after}\0") }
    }

    pub fn encode(&self) -> String {
        let wire = Wire { v: VERSION, rv: self.revision, start: self.start.clone() };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&wire).expect("numbers and texts serialize"))
    }

    pub fn decode(text: &str) -> Result<Token, StatusError> {
        let invalid = |why: &str| StatusError::bad_request(format!("continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|error| invalid(&error.to_string()))?;
        let wire: Wire<'_> = serde_json::from_slice(&bytes).map_err(|error| invalid(&error.to_string()))?;
        if wire.v != VERSION {
            return Err(invalid(&format!("server does not recognize this encoded version {:?}", wire.v)));
        }
        if wire.rv == 0 || wire.rv < -1 {
            return Err(invalid("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
        }
        if wire.start.is_empty() {
            return Err(invalid("encoded start key empty (version meta.k8s.io/v1)"));
        }
        Ok(Token { revision: wire.rv, start: wire.start })
    }
}

/// The history that the token needs is gone; the answer carries a token that continues on the newest state.
pub(super) fn expired(start: &str) -> StatusError {
    let mut status = StatusError::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without \
         the continue parameter, or use the continue token in this response to retrieve the remainder of the results. \
         Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
         deleted between the time the first chunk was returned and now may show up in the list.",
    )
    .into_status();
    let token = Token { revision: -1, start: start.to_owned() };
    status.metadata = serde_json::json!({ "continue": token.encode() });
    status.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_there_and_back() {
        let token = Token::after(42, "ns/name");
        assert_eq!(Token::decode(&token.encode()).unwrap(), token);
        for bad in ["%%%", "e30", "eyJ2IjoidjIiLCJydiI6MSwic3RhcnQiOiJhIn0"] {
            assert_eq!(Token::decode(bad).unwrap_err().code(), 400, "{bad}");
        }
    }
}
