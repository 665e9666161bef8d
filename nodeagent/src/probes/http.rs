//! An HTTP GET: any answer from 200 to 399 is a success. Redirects on the same host are followed; one that leads
//! elsewhere is a success with a warning. Certificates are not verified. All as upstream has it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::HTTPGetAction;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};

use super::check::Outcome;
use super::redirect;
use super::tcp::{connect, join};

/// What is read of an answer's body, at most.
const BODY_LIMIT: usize = 10 * 1024;

/// An answer's status code and the beginning of its body.
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
    location: Option<String>,
}

/// What one request asks for.
struct Target {
    scheme: String,
    host: String,
    port: u16,
    path: String,
    /// The Host header, if it is not to follow from the target.
    named_host: Option<String>,
}

impl Target {
    fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, join(&self.host, self.port), self.path)
    }
}

pub async fn check(action: &HTTPGetAction, pod_ip: Option<IpAddr>, port: u16, timeout: Duration) -> Outcome {
    match get(action, pod_ip, port, timeout, "kube-probe/1.36").await {
        Ok(answer) if (300..400).contains(&answer.status) => {
            let body = String::from_utf8_lossy(&answer.body);
            Outcome::Warning(format!("Probe terminated redirects, Response body: {body}"))
        }
        Ok(answer) if (200..300).contains(&answer.status) => Outcome::Success,
        Ok(answer) => Outcome::Failure(format!("HTTP probe failed with statuscode: {}", answer.status)),
        Err(reason) => Outcome::Failure(reason),
    }
}

/// One GET as an `httpGet` action describes it. The error is worded as Go's client words it.
pub async fn get(
    action: &HTTPGetAction,
    pod_ip: Option<IpAddr>,
    port: u16,
    timeout: Duration,
    user_agent: &str,
) -> Result<Answer, String> {
    let host = action.host.clone().filter(|host| !host.is_empty()).or(pod_ip.map(|ip| ip.to_string()));
    let host = host.ok_or_else(|| "the pod has no address".to_owned())?;
    let scheme = action.scheme.as_deref().unwrap_or("HTTP").to_ascii_lowercase();
    let path = action.path.as_deref().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    let named_host = action.http_headers.iter().flatten().find(|header| header.name.eq_ignore_ascii_case("host"));
    let named_host = named_host.map(|header| header.value.clone());
    let target = Target { scheme, host, port, path: format!("{slash}{path}"), named_host };
    let mut url = target.url();
    match tokio::time::timeout(timeout, follow(action, target, &mut url, timeout, user_agent)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(reason)) => Err(format!("Get \"{url}\": {reason}")),
        Err(_) => {
            Err(format!("Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"))
        }
    }
}

/// Asks until an answer sends no further; `url` is where it stands.
async fn follow(
    action: &HTTPGetAction,
    mut target: Target,
    url: &mut String,
    timeout: Duration,
    user_agent: &str,
) -> Result<Answer, String> {
    let mut asked = 0;
    loop {
        let answer = talk(action, &target, timeout, user_agent).await?;
        asked += 1;
        let location = answer.location.as_deref();
        let next = match redirect::next(url, asked, answer.status, location) {
            Ok(Some(next)) => next,
            Ok(None) => return Ok(answer),
            Err(dead_end) => {
                *url = dead_end.location;
                return Err(dead_end.reason);
            }
        };
        // A Host header that was asked for goes along with relative redirects only.
        let relative = location.is_some_and(|location| url::Url::parse(location).is_err());
        let query = next.query().map(|query| format!("?{query}")).unwrap_or_default();
        target = Target {
            scheme: next.scheme().to_owned(),
            host: next.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
            port: next.port_or_known_default().unwrap_or(80),
            path: format!("{}{query}", next.path()),
            named_host: target.named_host.filter(|_| relative),
        };
        *url = next.into();
    }
}

async fn talk(action: &HTTPGetAction, target: &Target, timeout: Duration, user_agent: &str) -> Result<Answer, String> {
    let Target { scheme, host, port, path, named_host } = target;
    let stream = connect(host, *port, timeout).await?;
    let mut request = Request::builder().method(Method::GET).uri(path);
    let mut has_agent = false;
    let mut has_accept = false;
    for header in action.http_headers.iter().flatten() {
        match header.name.to_ascii_lowercase().as_str() {
            "host" => {}
            name => {
                has_agent |= name == "user-agent";
                has_accept |= name == "accept";
                // An explicitly empty value takes the header away.
                if !header.value.is_empty() || !matches!(name, "user-agent" | "accept") {
                    request = request.header(&header.name, &header.value);
                }
            }
        }
    }
    if !has_agent {
        request = request.header("User-Agent", user_agent);
    }
    if !has_accept {
        request = request.header("Accept", "*/*");
    }
    let request = request
        .header("Host", named_host.clone().unwrap_or_else(|| join(host, *port)))
        .header("Connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    if scheme == "https" {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let connector = tokio_rustls::TlsConnector::from(unverified());
        let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
        exchange(stream, request).await
    } else {
        exchange(stream, request).await
    }
}

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let text = |error: hyper::Error| if error.is_incomplete_message() { "EOF".to_owned() } else { error.to_string() };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let driver = tokio::spawn(connection);
    let answer = async {
        let response = sender.send_request(request).await.map_err(text)?;
        let status = response.status().as_u16();
        let location = response.headers().get(http::header::LOCATION);
        let location = location.and_then(|location| location.to_str().ok()).map(str::to_owned);
        // A body that is longer than we read does not change the verdict.
        let body = Limited::new(response.into_body(), BODY_LIMIT).collect().await;
        Ok(Answer { status, location, body: body.map(|body| body.to_bytes()).unwrap_or_default() })
    }
    .await;
    driver.abort();
    answer
}

fn unverified() -> Arc<ClientConfig> {
    static CONFIG: std::sync::LazyLock<Arc<ClientConfig>> = std::sync::LazyLock::new(|| {
        let config = ClientConfig::builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate))
            .with_no_client_auth();
        Arc::new(config)
    });
    CONFIG.clone()
}

/// A probe asks whether the container answers, not who it is.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    async fn probe(answer: &'static str) -> (Outcome, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.expect("a request");
            stream.write_all(answer.as_bytes()).await.expect("an answer");
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let action = HTTPGetAction {
            path: Some("healthz?full".to_owned()),
            port: IntOrString::Int(i32::from(port)),
            ..HTTPGetAction::default()
        };
        let ip = Some("127.0.0.1".parse().expect("an address"));
        let outcome = check(&action, ip, port, Duration::from_secs(5)).await;
        (outcome, server.await.expect("the server ends"))
    }

    #[tokio::test]
    async fn the_status_code_is_the_result() {
        let (outcome, request) = probe("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(outcome, Outcome::Success);
        assert!(request.starts_with("GET /healthz?full HTTP/1.1\r\n"), "{request}");
        assert!(request.to_lowercase().contains("user-agent: kube-probe/1.36"), "{request}");
        let (outcome, _) =
            probe("HTTP/1.1 302 Found\r\nLocation: http://example.com/\r\nContent-Length: 3\r\n\r\nbye").await;
        assert_eq!(outcome, Outcome::Warning("Probe terminated redirects, Response body: bye".to_owned()));
        let (outcome, _) = probe("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(outcome, Outcome::Failure("HTTP probe failed with statuscode: 500".to_owned()));
    }

    #[tokio::test]
    async fn a_redirect_on_the_same_host_is_followed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = tokio::spawn(async move {
            let mut lines = Vec::new();
            for answer in ["HTTP/1.1 302 Found\r\nLocation: /b?c\r\n", "HTTP/1.1 503 Busy\r\n"] {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.expect("a request");
                stream.write_all(format!("{answer}Content-Length: 0\r\n\r\n").as_bytes()).await.expect("an answer");
                lines.push(String::from_utf8_lossy(&request[..length]).lines().next().unwrap_or_default().to_owned());
            }
            lines
        });
        let action = HTTPGetAction { path: Some("/a".to_owned()), ..HTTPGetAction::default() };
        let ip = Some("127.0.0.1".parse().expect("an address"));
        let outcome = check(&action, ip, port, Duration::from_secs(5)).await;
        assert_eq!(outcome, Outcome::Failure("HTTP probe failed with statuscode: 503".to_owned()));
        assert_eq!(server.await.expect("the server ends"), ["GET /a HTTP/1.1", "GET /b?c HTTP/1.1"]);
    }

    #[tokio::test]
    async fn a_closed_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let action = HTTPGetAction::default();
        let ip = Some("127.0.0.1".parse().expect("an address"));
        let outcome = check(&action, ip, port, Duration::from_secs(5)).await;
        let want = format!("Get \"http://127.0.0.1:{port}/\": dial tcp 127.0.0.1:{port}: connect: connection refused");
        assert_eq!(outcome, Outcome::Failure(want));
    }
}
