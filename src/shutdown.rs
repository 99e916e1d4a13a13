//! How the process ends: by a signal, in order and within a deadline; or because one of its tasks ended that should not.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// The signals that ask the process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndSignal {
    /// SIGTERM: Kubernetes and systemd send it to begin a graceful end.
    Terminate,
    /// SIGINT: Ctrl-C.
    Interrupt,
}

impl EndSignal {
    /// What a shell shows for a process that the signal ended: 128 plus its number.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Terminate => 128 + 15,
            Self::Interrupt => 128 + 2,
        }
    }
}

/// Listens for [`EndSignal`]s. From its creation on they no longer end the process by themselves.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to listen.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next signal.
    pub async fn next(&mut self) -> EndSignal {
        tokio::select! {
            _ = self.terminate.recv() => EndSignal::Terminate,
            _ = self.interrupt.recv() => EndSignal::Interrupt,
        }
    }
}

/// Cancels `stop` at the first signal and returns at the second, with it: then the process should end at once.
/// `next` gives one signal a call.
pub async fn second_signal(
    mut next: impl AsyncFnMut() -> EndSignal,
    stop: &CancellationToken,
) -> EndSignal {
    let first = next().await;
    tracing::info!(signal = ?first, "asked to end: draining; a second signal ends at once");
    stop.cancel();
    next().await
}

/// Why the process ends although nobody asked it to, or not in order.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    /// A task returned that has to run as long as the process.
    #[error(
        "task {task} ended without being asked to; the process ends with it, so that it is started again"
    )]
    Returned {
        /// Its name.
        task: String,
    },
    /// A task failed.
    #[error("task {task} failed; the process ends with it, so that it is started again")]
    Failed {
        /// Its name.
        task: String,
        /// Why.
        #[source]
        reason: anyhow::Error,
    },
    /// A task panicked.
    #[error(
        "task {task} panicked ({message}); the process ends with it, so that it is started again. Please report it"
    )]
    Panicked {
        /// Its name.
        task: String,
        /// What the panic said.
        message: String,
    },
    /// Tasks did not end within the deadline and were dropped; what they had in hand is delivered or read again after
    /// the next start.
    #[error("{} did not end within the shutdown deadline and were dropped: raise shutdown.deadline if that happens again", tasks.join(", "))]
    Deadline {
        /// Their names.
        tasks: Vec<String>,
    },
}

/// How a task may end before it is asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Term {
    /// Not at all.
    Process,
    /// By returning `Ok`.
    Work,
}

/// Runs the tasks of the process. The unexpected end of any of them ends all.
#[derive(Debug)]
pub struct Supervisor {
    stop: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, (String, Term)>,
}

impl Supervisor {
    /// `stop` asks the tasks to end: it is cancelled by a signal, or here after an unexpected end.
    pub fn new(stop: CancellationToken) -> Self {
        Self { stop, tasks: JoinSet::new(), names: HashMap::new() }
    }

    /// Starts a task that has to run until `stop` is cancelled.
    pub fn spawn(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.start(name.into(), Term::Process, Box::pin(task));
    }

    /// Starts a task that may return `Ok` when its work is done, such as the reader of a file.
    pub fn spawn_finite(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.start(name.into(), Term::Work, Box::pin(task));
    }

    fn start(&mut self, name: String, term: Term, task: BoxedTask) {
        let id = self.tasks.spawn(task).id();
        self.names.insert(id, (name, term));
    }

    /// Runs until `stop` is cancelled or a task ends that should not; then waits up to `drain` for the others and
    /// drops those that are left. The first unexpected end is the result, before a missed deadline.
    pub async fn run(mut self, drain: Duration) -> Result<(), EndError> {
        let stop = self.stop.clone();
        let unexpected = tokio::select! {
            () = stop.cancelled() => Ok(()),
            ended = self.until_unexpected() => Err(ended),
        };
        if let Err(error) = &unexpected {
            tracing::error!(error = %format_args!("{error:#}"), "ending");
        }
        stop.cancel();
        let drained = self.drain(drain).await;
        unexpected.and(drained)
    }

    /// Without any task it waits for ever.
    async fn until_unexpected(&mut self) -> EndError {
        loop {
            let Some(ended) = self.tasks.join_next_with_id().await else {
                return std::future::pending().await;
            };
            let (name, term, result) = self.identify(ended);
            match (result, term) {
                (Ok(()), Term::Work) => tracing::info!(task = name, "done"),
                // It may have been asked between the last look at `stop` and its end.
                (Ok(()), Term::Process) if self.stop.is_cancelled() => {}
                (Ok(()), Term::Process) => return EndError::Returned { task: name },
                (Err(error), Term::Work | Term::Process) => return error,
            }
        }
    }

    async fn drain(&mut self, limit: Duration) -> Result<(), EndError> {
        let mut first_failure = Ok(());
        let all = async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                let (name, _, result) = identify(&mut self.names, ended);
                if let Err(error) = &result {
                    tracing::error!(task = name, error = %format_args!("{error:#}"), "failed while draining");
                }
                first_failure = std::mem::replace(&mut first_failure, Ok(())).and(result);
            }
        };
        if tokio::time::timeout(limit, all).await.is_ok() {
            return first_failure;
        }
        self.tasks.abort_all();
        let mut tasks: Vec<String> = self.names.drain().map(|(_, (name, _))| name).collect();
        tasks.sort();
        first_failure.and(Err(EndError::Deadline { tasks }))
    }

    fn identify(&mut self, ended: Ended) -> (String, Term, Result<(), EndError>) {
        identify(&mut self.names, ended)
    }
}

type BoxedTask = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;
type Ended = Result<(Id, anyhow::Result<()>), JoinError>;

fn identify(
    names: &mut HashMap<Id, (String, Term)>,
    ended: Ended,
) -> (String, Term, Result<(), EndError>) {
    let id = match &ended {
        Ok((id, _)) => *id,
        Err(error) => error.id(),
    };
    let (task, term) = names.remove(&id).unwrap_or_else(|| ("unnamed".to_owned(), Term::Process));
    let result = match ended {
        Ok((_, Ok(()))) => Ok(()),
        Ok((_, Err(reason))) => Err(EndError::Failed { task: task.clone(), reason }),
        Err(error) => Err(EndError::Panicked { task: task.clone(), message: panic_message(error) }),
    };
    (task, term, result)
}

fn panic_message(error: JoinError) -> String {
    let payload = match error.try_into_panic() {
        Ok(payload) => payload,
        Err(cancelled) => return cancelled.to_string(),
    };
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN: Duration = Duration::from_secs(5);

    async fn until(stop: CancellationToken) -> anyhow::Result<()> {
        stop.cancelled().await;
        Ok(())
    }

    #[tokio::test]
    async fn the_first_signal_asks_to_end_and_the_second_ends_at_once() {
        let stop = CancellationToken::new();
        let mut seen = 0;
        let code = second_signal(
            async || {
                seen += 1;
                assert_eq!(stop.is_cancelled(), seen == 2);
                EndSignal::Terminate
            },
            &stop,
        )
        .await
        .exit_code();
        assert_eq!(code, 143);
    }

    #[tokio::test]
    async fn tasks_that_end_when_asked_to_are_no_failure() {
        let stop = CancellationToken::new();
        let mut supervisor = Supervisor::new(stop.clone());
        supervisor.spawn("a", until(stop.clone()));
        supervisor.spawn_finite("file", async { Ok(()) });
        stop.cancel();
        assert!(supervisor.run(DRAIN).await.is_ok());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_end_that_follows_the_request_is_never_taken_for_unexpected() {
        for _ in 0..2_000 {
            let stop = CancellationToken::new();
            let mut supervisor = Supervisor::new(stop.clone());
            supervisor.spawn("a", until(stop.clone()));
            let running = tokio::spawn(supervisor.run(DRAIN));
            stop.cancel();
            assert!(running.await.expect("no panic").is_ok());
        }
    }

    #[tokio::test]
    async fn an_unexpected_end_asks_the_others_to_end_and_is_the_reason() {
        let cases: [(&str, BoxedTask); 3] = [
            ("without being asked", Box::pin(async { Ok(()) })),
            ("task bad failed", Box::pin(async { Err(anyhow::anyhow!("why")) })),
            ("panicked (boom)", Box::pin(async { panic!("boom") })),
        ];
        for (expected, task) in cases {
            let stop = CancellationToken::new();
            let mut supervisor = Supervisor::new(stop.clone());
            supervisor.spawn("good", until(stop.clone()));
            supervisor.spawn("bad", task);
            let error = supervisor.run(DRAIN).await.expect_err("it ended early");
            assert!(error.to_string().contains(expected), "{error}");
            assert!(stop.is_cancelled());
        }
    }

    #[tokio::test]
    async fn finite_work_that_fails_ends_the_process() {
        let mut supervisor = Supervisor::new(CancellationToken::new());
        supervisor.spawn_finite("file", async { Err(anyhow::anyhow!("unreadable")) });
        let error = supervisor.run(DRAIN).await.expect_err("it failed");
        assert_eq!(
            format!("{:#}", anyhow::Error::from(error)),
            "task file failed; the process ends with it, so that it is started again: unreadable"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_drain_is_dropped_at_the_deadline_and_named() {
        let stop = CancellationToken::new();
        let mut supervisor = Supervisor::new(stop.clone());
        supervisor.spawn("stuck", std::future::pending());
        supervisor.spawn("good", until(stop.clone()));
        stop.cancel();
        let error = supervisor.run(DRAIN).await.expect_err("one is stuck");
        assert!(matches!(&error, EndError::Deadline { tasks } if tasks == &["stuck"]), "{error}");
    }
}
