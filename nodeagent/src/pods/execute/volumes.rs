//! Volumes: tokens are asked for, content is put together, directories are filled.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::mail::{Done, Failure};
use super::super::spec;
use super::Job;
use crate::environment::fields::Surroundings;
use crate::volumes;
use crate::volumes::payload::{self, Origin};

impl Job {
    /// Sets every volume up, or brings it up to date.
    pub(super) async fn mount_volumes(&self) -> Result<Done, Failure> {
        let declared = spec::spec(&self.pod).volumes.as_deref().unwrap_or_default();
        if declared.is_empty() {
            return Ok(Done::Nothing);
        }
        let tokens = futures::future::join(self.tokens(), self.references.synced()).await.0;
        let tokens = tokens.inspect_err(|failure| {
            self.events.pod_warning("FailedMount", &failure.message);
        })?;
        let read = || -> Vec<_> {
            let ips = self.pod_ips();
            let origin = Origin {
                pod: &self.pod,
                sources: self.references.as_ref(),
                around: self.surroundings(&ips),
                tokens: &tokens,
            };
            declared.iter().map(|volume| origin.files(volume)).collect()
        };
        let pod = self.pod.clone();
        let directory = self.directory.clone();
        let write = move |contents: Vec<_>| {
            let declared = spec::spec(&pod).volumes.as_deref().unwrap_or_default();
            let mut failed = Vec::new();
            for (volume, files) in declared.iter().zip(contents) {
                if let Err(error) = volumes::set_up(&directory, &pod, volume, files) {
                    failed.push(error.to_string());
                }
            }
            failed
        };
        let failed = self.turns.take(read, write).await?;
        for message in &failed {
            self.events.pod_warning("FailedMount", message);
        }
        match failed.into_iter().next() {
            None => Ok(Done::Nothing),
            Some(message) => Err(Failure::new(message)),
        }
    }

    async fn tokens(&self) -> Result<BTreeMap<payload::TokenRequest, String>, Failure> {
        let mut tokens = BTreeMap::new();
        for request in payload::token_requests(&self.pod) {
            let token = self.context.tokens.get(&self.pod, &request).await;
            let token = token
                .map_err(|error| Failure::new(format!("MountVolume.SetUp failed for a projected volume : {error}")))?;
            tokens.insert(request, token);
        }
        Ok(tokens)
    }

    pub(super) fn pod_ips(&self) -> Vec<IpAddr> {
        if spec::is_host_network(&self.pod) {
            return self.context.node.ips.clone();
        }
        self.sandbox.as_ref().map(|sandbox| sandbox.ips.clone()).unwrap_or_default()
    }

    pub(super) fn surroundings<'a>(&'a self, ips: &'a [IpAddr]) -> Surroundings<'a> {
        Surroundings { pod_ips: ips, host_ips: &self.context.node.ips, allocatable: &self.context.node.allocatable }
    }
}
