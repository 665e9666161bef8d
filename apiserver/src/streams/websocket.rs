//! WebSocket handshakes with Kubernetes' subprotocols.

use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{MessageStream, Session};
use keelson_objects::status::StatusError;

const PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");
/// The longest message that is taken from a client.
const LONGEST_MESSAGE: usize = 1024 * 1024;

/// Whether the client asks for a WebSocket where it could have an answer without.
pub fn is_wanted(http: &HttpRequest) -> bool {
    let upgrade = http.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|upgrade| upgrade.split(',').any(|name| name.trim().eq_ignore_ascii_case("websocket")))
}

/// Takes over the connection. `supported` is in order of preference; the client offers in its own. An empty one is for
/// a client that offers none.
pub fn accept(
    http: &HttpRequest,
    payload: web::Payload,
    supported: &[&'static str],
) -> Result<(HttpResponse, Session, MessageStream, &'static str), StatusError> {
    let offers: Vec<&str> = http
        .headers()
        .get_all(&PROTOCOL)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let Some(protocol) = choose(&offers, supported) else {
        return Err(StatusError::bad_request(format!(
            "unable to upgrade: the client offers the subprotocols {offers:?}, and this server speaks {supported:?}"
        )));
    };
    let (mut response, session, messages) = actix_ws::handle(http, payload)
        .map_err(|error| StatusError::bad_request(format!("unable to upgrade: {error}")))?;
    if !protocol.is_empty() {
        response.headers_mut().insert(PROTOCOL, HeaderValue::from_static(protocol));
    }
    Ok((response, session, messages.max_frame_size(LONGEST_MESSAGE), protocol))
}

fn choose(offers: &[&str], supported: &[&'static str]) -> Option<&'static str> {
    let offers = if offers.is_empty() { &[""] } else { offers };
    supported.iter().find(|protocol| offers.contains(*protocol)).copied()
}

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn the_newest_common_protocol_is_spoken() {
        let supported = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
        assert_eq!(choose(&["v4.channel.k8s.io", "v5.channel.k8s.io"], &supported), Some("v5.channel.k8s.io"));
        assert_eq!(choose(&["v4.channel.k8s.io"], &supported), Some("v4.channel.k8s.io"));
        assert_eq!(choose(&["channel.k8s.io"], &supported), None);
        assert_eq!(choose(&[], &supported), None);
        assert_eq!(choose(&[], &["v4.channel.k8s.io", ""]), Some(""));
    }
}
