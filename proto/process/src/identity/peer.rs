//! The identity in a peer's certificate.

use x509_parser::prelude::{FromDer, X509Certificate};

/// Common name and organizations of a certificate's subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub common_name: String,
    pub organizations: Vec<String>,
}

impl Identity {
    /// Reads the identity of a certificate in DER form that the TLS layer has verified. None if it is no certificate or
    /// has no common name.
    pub fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let subject = certificate.subject();
        let common_name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let organizations =
            subject.iter_organization().filter_map(|name| name.as_str().ok()).map(str::to_owned).collect();
        Some(Self { common_name, organizations })
    }
}
