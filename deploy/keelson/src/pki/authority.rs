//! The certificate authority of a cluster: one key, kept beside what it signs, readable by root only.

use std::net::IpAddr;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

use crate::error::{Error, Result};
use crate::layout::Layout;

/// Certificates live a year and are renewed by `keelson up` when less than this is left.
const LIFETIME_DAYS: i64 = 365;
const RENEW_DAYS: i64 = 30;
const AUTHORITY_DAYS: i64 = 3650;

/// Whom a certificate speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_names: Vec<String>,
    pub addresses: Vec<IpAddr>,
}

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Takes up the cluster's CA, or makes one.
    pub fn ensure(layout: &Layout) -> Result<Self> {
        crate::files::directory(&layout.pki(), 0o700)?;
        let (certificate_file, key_file) = (layout.pki_file("ca", "crt"), layout.pki_file("ca", "key"));
        if !certificate_file.exists() || !key_file.exists() {
            create(&certificate_file, &key_file)?;
        }
        let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| Error::file("read", path, error));
        let damaged = |error: &dyn std::fmt::Display| {
            Error::new(format!("the cluster's CA in {} is damaged: {error}", layout.pki().display()))
                .hint("restore ca.crt and ca.key from a backup: every identity of the cluster hangs on them")
        };
        let pem = read(&certificate_file)?;
        let key = KeyPair::from_pem(&read(&key_file)?).map_err(|error| damaged(&error))?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(|error| damaged(&error))?;
        Ok(Self { issuer })
    }

    /// Sees to it that `<name>.crt` and `<name>.key` are there for the subject, and valid for a month at least.
    /// Returns whether they were made anew.
    pub fn ensure_identity(&self, layout: &Layout, name: &str, subject: &Subject) -> Result<bool> {
        let (certificate_file, key_file) = (layout.pki_file(name, "crt"), layout.pki_file(name, "key"));
        let stamp = format!("{subject:?}");
        let stamp_file = layout.pki_file(name, "subject");
        let same_subject = std::fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp);
        if same_subject && key_file.exists() && is_fresh(&certificate_file) {
            return Ok(false);
        }
        let failed =
            |error: rcgen::Error| Error::tried(format!("sign a certificate for {}", subject.common_name), error);
        let key = KeyPair::generate().map_err(failed)?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, &subject.common_name);
        for organization in &subject.organizations {
            parameters.distinguished_name.push(DnType::OrganizationName, organization);
        }
        for name in &subject.dns_names {
            parameters.subject_alt_names.push(SanType::DnsName(name.as_str().try_into().map_err(failed)?));
        }
        parameters.subject_alt_names.extend(subject.addresses.iter().copied().map(SanType::IpAddress));
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        set_validity(&mut parameters, LIFETIME_DAYS);
        let certificate = parameters.signed_by(&key, &self.issuer).map_err(failed)?;
        crate::files::write(&key_file, key.serialize_pem().as_bytes(), 0o600)?;
        crate::files::write(&certificate_file, certificate.pem().as_bytes(), 0o644)?;
        crate::files::write(&stamp_file, stamp.as_bytes(), 0o644)?;
        Ok(true)
    }
}

fn create(certificate_file: &Path, key_file: &Path) -> Result<()> {
    let failed = |error: rcgen::Error| Error::tried("make the cluster's CA", error);
    let key = KeyPair::generate().map_err(failed)?;
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, "keelson-ca");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    set_validity(&mut parameters, AUTHORITY_DAYS);
    let certificate = parameters.self_signed(&key).map_err(failed)?;
    crate::files::write(key_file, key.serialize_pem().as_bytes(), 0o600)?;
    crate::files::write(certificate_file, certificate.pem().as_bytes(), 0o644)
}

/// From a little before now, since the clocks of machines differ.
fn set_validity(parameters: &mut CertificateParams, days: i64) {
    let now = jiff::Timestamp::now();
    let hours = |hours: i64| jiff::SignedDuration::from_hours(hours);
    let date = |time: jiff::Timestamp| {
        let date = time.to_zoned(jiff::tz::TimeZone::UTC).date();
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        rcgen::date_time_ymd(i32::from(date.year()), month, day)
    };
    parameters.not_before = date(now - hours(24));
    parameters.not_after = date(now + hours(24 * days));
}

/// Whether a certificate was written less than its lifetime minus the renewal margin ago.
fn is_fresh(certificate: &Path) -> bool {
    let age = std::fs::metadata(certificate)
        .and_then(|metadata| metadata.modified())
        .ok()
        .and_then(|made| made.elapsed().ok());
    let limit = std::time::Duration::from_secs(u64::try_from((LIFETIME_DAYS - RENEW_DAYS) * 86_400).unwrap_or(0));
    age.is_some_and(|age| age < limit)
}
