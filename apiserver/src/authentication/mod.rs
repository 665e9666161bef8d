//! Who is it? Client certificates, service-account tokens and the static token file.
//!
//! [`Authenticator`] answers without I/O: certificates were verified by the TLS layer, keys are in memory, and what a
//! service-account token is bound to is looked up in the watch cache. Only before it refuses a token for what the cache
//! does not hold does it ask the store.

mod issuer;
mod service_account;
mod token_file;
mod user;

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use keelson_process::identity::Identity;

pub use issuer::Issuer;
pub use service_account::Verifier;
pub use user::User;

use crate::{cache::Cache, registry::Registry, storage::Store};

/// A key or token file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, std::io::Error),
    #[error("{0} holds no usable key: {1}")]
    Key(PathBuf, String),
    #[error("{path} line {line}: expected token,user,uid[,\"group1,group2\"]")]
    TokenFile { path: PathBuf, line: usize },
}

/// What a request shows of its sender.
#[derive(Debug, Default, Clone, Copy)]
pub struct Credentials<'a> {
    /// The user of the verified client certificate, worked out once a connection.
    pub certificate: Option<&'a Arc<User>>,
    /// The token behind `Authorization: Bearer `.
    pub bearer: Option<&'a str>,
}

#[derive(Default)]
pub struct Authenticator {
    tokens: HashMap<String, Arc<User>>,
    service_accounts: Option<Verifier>,
}

impl Authenticator {
    pub fn new(token_file: Option<&PathBuf>, service_accounts: Option<Verifier>) -> Result<Authenticator, Error> {
        let tokens = match token_file {
            Some(path) => token_file::read(path)?,
            None => HashMap::new(),
        };
        Ok(Authenticator { tokens, service_accounts })
    }

    /// The user of a verified client certificate: CN is the name, O are the groups.
    pub fn certificate_user(identity: Identity) -> Arc<User> {
        let mut groups = identity.organizations;
        groups.push(User::AUTHENTICATED.to_owned());
        Arc::new(User { name: identity.common_name, groups, ..User::default() })
    }

    /// None: nobody that is known. A bad token is not saved by a good certificate's absence, but a good certificate
    /// is enough on its own, as upstream's union of authenticators has it.
    pub async fn authenticate(
        &self,
        credentials: Credentials<'_>,
        registry: &Registry,
        cache: &Cache,
        store: &Store,
    ) -> Option<Arc<User>> {
        if let Some(user) = credentials.certificate {
            return Some(user.clone());
        }
        let token = credentials.bearer?;
        if let Some(user) = self.tokens.get(token) {
            return Some(user.clone());
        }
        self.service_accounts.as_ref()?.authenticate(token, registry, cache, store).await
    }

    pub fn service_accounts(&self) -> Option<&Verifier> {
        self.service_accounts.as_ref()
    }
}
