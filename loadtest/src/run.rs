//! One profile against the shipped program.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use lastseen::alert::signature::Signer;
use lastseen::clock::Stopwatch;
use lastseen::devhub::fleet::{Notice, NoticeStatus};
use lastseen::devhub::hub::Stencil;
use lastseen::devhub::receiver::{self, Inbox};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::carrier::{self, Carrier, Source};
use crate::judge::{News, Told, Verdict};
use crate::measure::{Fleet, Measured, Watcher};
use crate::profile::Profile;
use crate::progress::Progress;
use crate::report::{Findings, Report};
use crate::service::Service;
use crate::vitals::{self, Vitals};

/// How long the fleet lives on after the restart: a false alarm would come in this time.
const AFTER_RESTART: Duration = Duration::from_secs(3);

/// What a run left behind.
pub(crate) struct Outcome {
    pub(crate) report: Report,
    pub(crate) measured: Measured,
    pub(crate) verdict: Verdict,
}

/// The service and the receiver that it tells.
struct Watched {
    service: Service,
    inbox: Inbox,
    stencil: Stencil,
    _stop: DropGuard,
}

impl Watcher for Watched {
    fn vitals(&self) -> anyhow::Result<Vitals> {
        self.service.vitals()
    }

    fn told(&self) -> Vec<Told> {
        self.inbox.read(|notices| notices.iter().map(|notice| self.read(notice)).collect())
    }

    fn check(&mut self) -> anyhow::Result<()> {
        self.service.check()
    }
}

impl Watched {
    /// Sets up the service and a receiver on a free port. Nothing runs yet but the receiver.
    async fn set_up(
        program: &Path,
        profile: &Profile,
        source: &Source,
        watch: Stopwatch,
    ) -> anyhow::Result<Self> {
        let secret = receiver::fresh_secret();
        let signer = Signer::new(std::slice::from_ref(&secret))?;
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port for webhooks")?;
        let address = listener.local_addr()?;
        let (inbox, stop) = (Inbox::default(), CancellationToken::new());
        tokio::spawn(receiver::serve(listener, signer, inbox.clone(), watch, stop.clone()));
        let service = Service::set_up(program, profile, source, address, &secret)?;
        Ok(Self { service, inbox, stencil: carrier::stencil(), _stop: stop.drop_guard() })
    }

    fn read(&self, notice: &Notice) -> Told {
        Told {
            message_id: notice.message_id.clone(),
            number: self.stencil.number(&notice.device_id),
            news: match notice.status {
                NoticeStatus::Firing => News::Silent,
                NoticeStatus::Resolved => News::Ended,
                NoticeStatus::Retracted | NoticeStatus::Amended => News::TakenBack,
            },
            received: notice.received_at,
        }
    }
}

/// Runs it, from an empty store to a restart after SIGKILL.
pub(crate) async fn run(
    program: &Path,
    name: &str,
    profile: &Profile,
    seed: u64,
    progress: &mut Progress,
) -> anyhow::Result<Outcome> {
    let watch = Stopwatch::start();
    progress.say(&format!("{name}: {}", profile.about));
    let (carrier, source) = Carrier::open(profile, &watch).await?;
    let mut watched = Watched::set_up(program, profile, &source, watch).await?;
    watched.service.start().await?;
    let mut fleet = Fleet::start(profile, seed, carrier, watch)?;
    let measured = fleet.until_told(&mut watched, progress).await?;
    let flood = match profile.flood_ms {
        0 => None,
        _ => Some(fleet.flood(&mut watched).await?),
    };
    watched.service.kill()?;
    let restart_to_ready_ms = Some(watched.service.start().await?);
    tokio::time::sleep(AFTER_RESTART).await;
    watched.check()?;
    let verdict = fleet.verdict(&watched)?;
    let findings = Findings {
        name,
        seed,
        machine: vitals::machine(),
        measured: &measured,
        longest_pause_ms: fleet.longest_pause_ms(),
        refused: watched.inbox.refused(),
        about_no_device: watched.inbox.about_no_device(),
        dead_letter_bytes: watched.service.dead_letter_bytes(),
        flood,
        restart_to_ready_ms,
    };
    let report = Report::new(profile, &verdict, findings);
    Ok(Outcome { report, measured, verdict })
}
