//! Roles that panic, fail, hang and block, under a real actor system.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use keelson_process::supervision::{Escalation, Role, Spec, supervise};
use keelson_process::{BoxError, Process, Shutdown};
use tokio::sync::mpsc;

/// What a test asks of the role.
#[derive(Debug)]
enum Mail {
    Note(u32),
    Panic,
    Fail,
    Hang,
    BlockThread(std::sync::mpsc::Receiver<()>),
}

struct Example {
    life: u32,
    seen: mpsc::UnboundedSender<(u32, u32)>,
}

impl Role for Example {
    type Mail = Mail;

    async fn handle(&mut self, mail: Mail) -> Result<(), BoxError> {
        match mail {
            Mail::Note(number) => self.seen.send((self.life, number))?,
            Mail::Panic => panic!("asked to"),
            Mail::Fail => return Err("asked to".into()),
            Mail::Hang => std::future::pending().await,
            Mail::BlockThread(until) => until.recv()?,
        }
        Ok(())
    }
}

fn in_a_system<Test: Future<Output = ()>>(test: impl FnOnce(Process) -> Test) {
    let system = actix::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    });
    system.block_on(async { test(Process::within_system("test", Shutdown::new())).await });
}

fn example(
    process: &Process,
    spec: Spec,
) -> (keelson_process::supervision::Inbox<Mail>, mpsc::UnboundedReceiver<(u32, u32)>) {
    let (seen, notes) = mpsc::unbounded_channel();
    let lives = Arc::new(AtomicU32::new(0));
    let inbox =
        supervise(process, spec, move || Example { life: lives.fetch_add(1, Ordering::SeqCst), seen: seen.clone() });
    (inbox, notes)
}

fn quick(name: &str) -> Spec {
    Spec::new(name).backoff(Duration::from_millis(1), Duration::from_millis(1)).stuck_after(Duration::from_secs(3))
}

#[test]
fn a_panic_an_error_and_a_hang_each_cost_one_life_and_no_waiting_mail() {
    in_a_system(|process| async move {
        let (inbox, mut notes) = example(&process, quick("example"));
        for mail in [Mail::Note(1), Mail::Panic, Mail::Note(2), Mail::Fail, Mail::Note(3), Mail::Hang, Mail::Note(4)] {
            inbox.send(mail).await.expect("taken");
        }
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(notes.recv().await.expect("a note"));
        }
        assert_eq!(seen, [(0, 1), (1, 2), (2, 3), (3, 4)]);
        let metrics = process.metrics.text();
        for cause in ["panic", "error", "stuck"] {
            assert!(
                metrics.contains(&format!("role_restarts_total{{role=\"example\",cause=\"{cause}\"}} 1")),
                "{metrics}"
            );
        }
    });
}

#[test]
fn a_blocked_thread_is_replaced() {
    in_a_system(|process| async move {
        let (inbox, mut notes) = example(&process, quick("blocker"));
        let (release, until) = std::sync::mpsc::channel();
        inbox.send(Mail::BlockThread(until)).await.expect("taken");
        inbox.send(Mail::Note(1)).await.expect("taken");
        assert_eq!(notes.recv().await, Some((1, 1)));
        drop(release);
    });
}

#[test]
fn past_the_limit_the_process_is_told_to_end() {
    in_a_system(|process| async move {
        let (inbox, _notes) = example(&process, quick("hopeless").max_restarts(2, Duration::from_secs(60)));
        for _ in 0..3 {
            inbox.send(Mail::Panic).await.expect("taken");
        }
        process.shutdown.begun().await;
        let cause = process.shutdown.failure().expect("a cause");
        assert!(cause.contains("hopeless failed 3 times") && cause.contains("panicked: asked to"), "{cause}");
    });
}

#[test]
fn one_of_many_equals_ends_alone() {
    in_a_system(|process| async move {
        let (inbox, _notes) =
            example(&process, quick("pod").max_restarts(0, Duration::from_secs(60)).escalation(Escalation::StopRole));
        inbox.send(Mail::Fail).await.expect("taken");
        inbox.ended().await;
        assert!(!process.shutdown.has_begun());
    });
}
