//! The supervisor: one task a role, outside the arbiters, so that a stuck role cannot hold it.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AtomicResponse, Context, Handler, MailboxError, Message, WrapFuture,
};
use futures::FutureExt;
use futures::future::{AbortHandle, Abortable};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::arbiters::RestartLabels;
use super::{Arbiters, Escalation, Inbox, Role, Spec};
use crate::{BoxError, Process};

/// How long an aborted role may take to notice; after that its thread counts as blocked.
const ABORT_GRACE: Duration = Duration::from_secs(5);

/// Starts a role under supervision. The factory is called on the role's arbiter, at the start and after each failure.
pub fn supervise<R, Factory>(process: &Process, spec: Spec, factory: Factory) -> Inbox<R::Mail>
where
    R: Role,
    Factory: Fn() -> R + Send + Sync + Clone + 'static,
{
    let (inbox, mail) = Inbox::new(spec.mailbox_capacity);
    let supervisor = Supervisor { arbiters: process.arbiters.clone(), failures: VecDeque::new(), spec, factory };
    let shutdown = process.shutdown.clone();
    tokio::spawn(async move {
        let Err(give_up) = supervisor.run(mail).await else {
            return;
        };
        match give_up.escalation {
            Escalation::StopProcess => shutdown.fail(give_up.reason),
            Escalation::StopRole => tracing::error!(reason = give_up.reason, "role ended for good"),
        }
    });
    inbox
}

struct GiveUp {
    escalation: Escalation,
    reason: String,
}

/// How a mail, or the start of a role, went wrong.
enum Failure {
    Panic(String),
    Error(BoxError),
    Stuck,
}

impl Failure {
    fn kind(&self) -> &'static str {
        match self {
            Self::Panic(_) => "panic",
            Self::Error(_) => "error",
            Self::Stuck => "stuck",
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Panic(message) => write!(formatter, "panicked: {message}"),
            Self::Error(error) => write!(formatter, "failed: {error}"),
            Self::Stuck => write!(formatter, "made no progress"),
        }
    }
}

struct Supervisor<Factory> {
    arbiters: Arbiters,
    failures: VecDeque<Instant>,
    spec: Spec,
    factory: Factory,
}

impl<R, Factory> Supervisor<Factory>
where
    R: Role,
    Factory: Fn() -> R + Send + Sync + Clone + 'static,
{
    async fn run(mut self, mut inbox: mpsc::Receiver<R::Mail>) -> Result<(), GiveUp> {
        let mut incarnation = self.incarnate().await?;
        while let Some(mail) = inbox.recv().await {
            if let Err(failure) = self.deliver(&incarnation, Work::Handle(mail)).await {
                self.record(&failure, &incarnation).await?;
                incarnation = self.incarnate().await?;
            }
        }
        incarnation.address.do_send(Retire);
        Ok(())
    }

    /// Makes the role until one starts.
    async fn incarnate(&mut self) -> Result<Incarnation<R>, GiveUp> {
        loop {
            let (place, arbiter) = self.arbiters.pick();
            let factory = self.factory.clone();
            let address =
                RoleActor::start_in_arbiter(&arbiter, move |_| RoleActor { role: None, factory: Box::new(factory) });
            let incarnation = Incarnation { place, address };
            match self.deliver(&incarnation, Work::Start).await {
                Ok(()) => return Ok(incarnation),
                Err(failure) => self.record(&failure, &incarnation).await?,
            }
        }
    }

    /// Hands one piece of work over and waits for its end, or for the role to show that it is stuck.
    async fn deliver(&self, incarnation: &Incarnation<R>, work: Work<R::Mail>) -> Result<(), Failure> {
        let (abort, registration) = AbortHandle::new_pair();
        let mut outcome = std::pin::pin!(incarnation.address.send(Deliver { work, registration }));
        if let Ok(outcome) = tokio::time::timeout(self.spec.stuck_after, &mut outcome).await {
            return settled(outcome);
        }
        abort.abort();
        if tokio::time::timeout(ABORT_GRACE, outcome).await.is_err() {
            tracing::error!(role = self.spec.name, "the role blocks its thread; replacing the thread");
            self.arbiters.replace(incarnation.place);
        }
        Err(Failure::Stuck)
    }

    /// Counts a failure and waits the back-off, or gives up.
    async fn record(&mut self, failure: &Failure, incarnation: &Incarnation<R>) -> Result<(), GiveUp> {
        incarnation.address.do_send(Retire);
        let now = Instant::now();
        while self.failures.front().is_some_and(|&past| now.duration_since(past) > self.spec.restart_window) {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        let recent = u32::try_from(self.failures.len()).unwrap_or(u32::MAX);
        let labels = RestartLabels { role: self.spec.name.clone(), cause: failure.kind() };
        self.arbiters.restarts.get_or_create(&labels).inc();
        if recent > self.spec.max_restarts {
            let reason = format!(
                "role {} failed {recent} times within {} s, the last time it {failure}",
                self.spec.name,
                self.spec.restart_window.as_secs(),
            );
            return Err(GiveUp { escalation: self.spec.escalation, reason });
        }
        let doublings = (recent - 1).min(16);
        let backoff = self.spec.initial_backoff.saturating_mul(1 << doublings).min(self.spec.max_backoff);
        tracing::error!(role = self.spec.name, cause = %failure, restarts = recent, backoff_ms = backoff.as_millis(), "role failed, making it anew");
        tokio::time::sleep(backoff).await;
        Ok(())
    }
}

fn settled(outcome: Result<Outcome, MailboxError>) -> Result<(), Failure> {
    match outcome {
        Ok(Outcome::Done) => Ok(()),
        Ok(Outcome::Failed(error)) => Err(Failure::Error(error)),
        Ok(Outcome::Panicked(message)) => Err(Failure::Panic(message)),
        Ok(Outcome::Aborted) => Err(Failure::Stuck),
        // The actor went without an answer: its factory panicked, or its arbiter is gone.
        Err(_) => Err(Failure::Panic("outside of a mail".to_owned())),
    }
}

/// One life of a role.
struct Incarnation<R: Role> {
    place: usize,
    address: Addr<RoleActor<R>>,
}

enum Work<Mail> {
    Start,
    Handle(Mail),
}

enum Outcome {
    Done,
    Failed(BoxError),
    Panicked(String),
    Aborted,
}

/// The actix actor around a role.
struct RoleActor<R: Role> {
    role: Option<Box<R>>,
    factory: Box<dyn Fn() -> R>,
}

impl<R: Role> Actor for RoleActor<R> {
    type Context = Context<Self>;
}

struct Deliver<Mail> {
    work: Work<Mail>,
    registration: futures::future::AbortRegistration,
}

impl<Mail: Send + 'static> Message for Deliver<Mail> {
    type Result = Outcome;
}

impl<R: Role> Handler<Deliver<R::Mail>> for RoleActor<R> {
    type Result = AtomicResponse<Self, Outcome>;

    fn handle(&mut self, message: Deliver<R::Mail>, _: &mut Self::Context) -> Self::Result {
        let made = match self.role.take() {
            Some(role) => Ok(role),
            None => std::panic::catch_unwind(AssertUnwindSafe(|| Box::new((self.factory)()))),
        };
        let work = async move {
            let mut role = match made {
                Ok(role) => role,
                Err(panic) => return (None, Outcome::Panicked(message_of(panic.as_ref()))),
            };
            let effort = async {
                match message.work {
                    Work::Start => role.started().await,
                    Work::Handle(mail) => role.handle(mail).await,
                }
            };
            let effort = Abortable::new(AssertUnwindSafe(effort).catch_unwind(), message.registration);
            match effort.await {
                Ok(Ok(Ok(()))) => (Some(role), Outcome::Done),
                Ok(Ok(Err(error))) => (None, Outcome::Failed(error)),
                Ok(Err(panic)) => (None, Outcome::Panicked(message_of(panic.as_ref()))),
                Err(_) => (None, Outcome::Aborted),
            }
        };
        AtomicResponse::new(Box::pin(work.into_actor(self).map(|(role, outcome), actor, _| {
            actor.role = role;
            outcome
        })))
    }
}

/// Ends an incarnation.
#[derive(Message)]
#[rtype(result = "()")]
struct Retire;

impl<R: Role> Handler<Retire> for RoleActor<R> {
    type Result = ();

    fn handle(&mut self, _: Retire, context: &mut Self::Context) {
        context.stop();
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "without a message".to_owned()
    }
}
