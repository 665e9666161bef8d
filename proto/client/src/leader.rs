//! Leader election on a Lease, with client-go's algorithm and times.
//!
//! Whoever holds the Lease renews it; whoever does not watches it change, by its own clock, and takes it when it has
//! not changed for its duration. A leader that cannot renew within the deadline stops leading before another can start.
//! The [`LeaderGuard`] of a leadership makes its writes conditional on the Lease in the same store transaction, so that
//! a leader that slept through its end cannot write.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use keelson_process::Shutdown;
use rand::Rng;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::{Api, Client, Error, LeaderGuard};

/// Waits between attempts to acquire vary up to this factor more, so that candidates do not meet.
const JITTER: f64 = 1.2;

/// Which Lease, who, and the times.
#[derive(Clone, Debug)]
pub struct LeaderOptions {
    pub namespace: String,
    pub name: String,
    /// Unique among candidates: `host_uuid`.
    pub identity: String,
    pub lease_duration: Duration,
    pub renew_deadline: Duration,
    pub retry_period: Duration,
}

impl LeaderOptions {
    /// With upstream's times: 15 s, 10 s, 2 s.
    pub fn new(namespace: &str, name: &str, identity: &str) -> LeaderOptions {
        LeaderOptions {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// An identity that no other candidate has: the host's name and a random part.
pub fn unique_identity(host: &str) -> String {
    format!("{host}_{}", uuid::Uuid::new_v4())
}

/// A held Lease. Dropping it stops the renewals; [`Leadership::release`] lets another take over at once.
pub struct Leadership {
    elector: Elector,
    guard: LeaderGuard,
    ended: Shutdown,
    renewing: JoinHandle<Option<Lease>>,
    stop_renewing: Shutdown,
}

impl Leadership {
    /// What makes writes depend on this leadership: [`Client::with_guard`].
    pub fn guard(&self) -> LeaderGuard {
        self.guard.clone()
    }

    /// Begins when the leadership is lost, and with the process: what leads runs under it.
    pub fn shutdown(&self) -> &Shutdown {
        &self.ended
    }

    /// Resolves when the leadership is lost, not before.
    pub async fn lost(&mut self) {
        let _ = (&mut self.renewing).await;
    }

    /// Gives the Lease back. To be called when what led has stopped.
    pub async fn release(mut self) {
        self.stop_renewing.begin();
        if let Ok(Some(lease)) = (&mut self.renewing).await {
            self.elector.release(lease).await;
        }
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.stop_renewing.begin();
        self.ended.begin();
    }
}

/// Waits until this candidate leads; `None` if the process is asked to end before.
pub async fn acquire(client: &Client, options: LeaderOptions, shutdown: &Shutdown) -> Option<Leadership> {
    let api = client.namespaced::<Lease>(&options.namespace);
    let mut elector = Elector { api, options, observed: None };
    loop {
        match elector.try_acquire().await {
            Ok(Some(lease)) => return Some(lead(elector, lease, shutdown)),
            Ok(None) => {}
            Err(error) => {
                let lease = elector.options.name.as_str();
                tracing::warn!(lease, %error, "cannot try to become leader, trying again");
            }
        }
        let wait = elector.options.retry_period.mul_f64(1.0 + JITTER * rand::rng().random::<f64>());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shutdown.begun() => return None,
        }
    }
}

fn lead(elector: Elector, lease: Lease, shutdown: &Shutdown) -> Leadership {
    let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or_default();
    let guard = LeaderGuard {
        namespace: elector.options.namespace.clone(),
        name: elector.options.name.clone(),
        holder: elector.options.identity.clone(),
        transitions,
    };
    tracing::info!(lease = guard.name, identity = guard.holder, transitions, "leading");
    let ended = shutdown.child();
    // Renewals go on while the process winds down: only release and loss end them.
    let stop_renewing = Shutdown::new();
    let renewing = tokio::spawn(renew(elector.clone(), lease, stop_renewing.clone(), ended.clone()));
    Leadership { elector, guard, ended, renewing, stop_renewing }
}

/// Renews until told to stop (answers with the Lease) or until the deadline passed without success (`None`).
async fn renew(elector: Elector, mut lease: Lease, stop: Shutdown, ended: Shutdown) -> Option<Lease> {
    let options = &elector.options;
    let mut renewed = Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep(options.retry_period) => {}
            () = stop.begun() => return Some(lease),
        }
        let left = (renewed + options.renew_deadline).saturating_duration_since(Instant::now());
        let started = Instant::now();
        match tokio::time::timeout(left, elector.try_renew(&lease)).await {
            Ok(Ok(Some(fresh))) => {
                lease = fresh;
                renewed = started;
            }
            Ok(Ok(None)) => {
                tracing::error!(lease = options.name, "another holds the lease: leadership lost");
                break;
            }
            Ok(Err(error)) => tracing::warn!(lease = options.name, %error, "cannot renew the lease, trying again"),
            Err(_) => tracing::warn!(lease = options.name, "renewing the lease took too long"),
        }
        if renewed.elapsed() >= options.renew_deadline {
            tracing::error!(lease = options.name, "the lease was not renewed in time: leadership lost");
            break;
        }
    }
    ended.begin();
    None
}

/// The Lease as it was last seen to change, by this process' clock.
#[derive(Clone)]
struct Observed {
    spec: LeaseSpec,
    at: Instant,
}

#[derive(Clone)]
struct Elector {
    api: Api<Lease>,
    options: LeaderOptions,
    observed: Option<Observed>,
}

impl Elector {
    /// One attempt: the Lease if this candidate has it now.
    async fn try_acquire(&mut self) -> Result<Option<Lease>, Error> {
        let Some(mut lease) = self.api.find(&self.options.name).await? else {
            let mut lease = Lease::default();
            lease.metadata.name = Some(self.options.name.clone());
            lease.metadata.namespace = Some(self.options.namespace.clone());
            lease.spec = Some(self.spec(0, now()));
            return match self.api.create(&lease).await {
                Ok(lease) => Ok(Some(lease)),
                Err(error) if error.is_already_exists() => Ok(None),
                Err(error) => Err(error),
            };
        };
        let spec = lease.spec.clone().unwrap_or_default();
        if self.observed.as_ref().is_none_or(|observed| observed.spec != spec) {
            self.observed = Some(Observed { spec: spec.clone(), at: Instant::now() });
        }
        if !self.may_take(&spec) {
            return Ok(None);
        }
        let transitions = spec.lease_transitions.unwrap_or_default();
        lease.spec = Some(self.spec(transitions.saturating_add(1), now()));
        won(self.api.update(&self.options.name, &lease).await)
    }

    /// Whether the Lease is free, or has not changed for its whole duration.
    fn may_take(&self, spec: &LeaseSpec) -> bool {
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder.is_empty() {
            return true;
        }
        let duration = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let duration = duration.map_or(self.options.lease_duration, Duration::from_secs);
        self.observed.as_ref().is_some_and(|observed| observed.at.elapsed() > duration)
    }

    /// `None` if another has taken the Lease.
    async fn try_renew(&self, held: &Lease) -> Result<Option<Lease>, Error> {
        let mut lease = held.clone();
        let spec = lease.spec.get_or_insert_default();
        let acquired = spec.acquire_time.clone().unwrap_or_else(now);
        let fresh = self.spec(spec.lease_transitions.unwrap_or_default(), acquired);
        *spec = fresh.clone();
        match self.api.update(&self.options.name, &lease).await {
            Ok(lease) => return Ok(Some(lease)),
            Err(error) if error.is_conflict() || error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        // The answer to an earlier renewal may have been lost, or a label was changed: what counts is the holder.
        let Some(mut present) = self.api.find(&self.options.name).await? else { return Ok(None) };
        let spec = present.spec.get_or_insert_default();
        let mine = spec.holder_identity == fresh.holder_identity && spec.lease_transitions == fresh.lease_transitions;
        if !mine {
            return Ok(None);
        }
        *spec = fresh;
        self.api.update(&self.options.name, &present).await.map(Some)
    }

    async fn release(&self, mut lease: Lease) {
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(now());
        spec.acquire_time = Some(now());
        if let Err(error) = self.api.update(&self.options.name, &lease).await {
            tracing::warn!(lease = self.options.name, %error, "cannot release the lease, it will expire");
        }
    }

    fn spec(&self, transitions: i32, acquired: MicroTime) -> LeaseSpec {
        let seconds = i32::try_from(self.options.lease_duration.as_secs().max(1)).unwrap_or(i32::MAX);
        LeaseSpec {
            holder_identity: Some(self.options.identity.clone()),
            lease_duration_seconds: Some(seconds),
            acquire_time: Some(acquired),
            renew_time: Some(now()),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

fn now() -> MicroTime {
    MicroTime(jiff::Timestamp::now())
}

/// A lost race is no error.
fn won(result: Result<Lease, Error>) -> Result<Option<Lease>, Error> {
    match result {
        Ok(lease) => Ok(Some(lease)),
        Err(error) if error.is_conflict() => Ok(None),
        Err(error) => Err(error),
    }
}
