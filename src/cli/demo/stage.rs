//! Everything but the fleet, set up and taken down: hub, receiver, service.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::driver::{self, Record};
use super::service::{self, Folder, Surroundings};
use super::{LiveView, Service};
use crate::alert::signature::Signer;
use crate::clock::Stopwatch;
use crate::config::Config;
use crate::devhub::fleet::{FleetOptions, Plan};
use crate::devhub::hub::{Hub, HubOptions, connection_string};
use crate::devhub::receiver::{self, Inbox};

/// Name of the simulated IoT Hub.
const HUB: &str = "demo";

/// As many as an IoT Hub's built-in endpoint has by default.
const PARTITIONS: usize = 4;

/// The most messages kept per partition: some 30 MB each. A reader that is this far behind has lost the race anyhow.
const RETENTION_MESSAGES: usize = 50_000;

/// How long the service may take to attach to every partition before the fleet starts.
const ATTACH_DEADLINE: Duration = Duration::from_secs(15);

/// Between two looks at whether it has.
const ATTACH_LOOK: Duration = Duration::from_millis(20);

/// How long the parts may take to end.
const END_DEADLINE: Duration = Duration::from_secs(6);

/// Hub, receiver and service, running.
pub(super) struct Stage {
    /// What came in.
    pub(super) inbox: Inbox,
    /// What everything is dated by.
    pub(super) watch: Stopwatch,
    /// Looks at the service.
    pub(super) look: Arc<dyn Fn() -> LiveView + Send + Sync>,
    hub: Hub,
    /// `None`: it has ended.
    service: Option<JoinHandle<anyhow::Result<()>>>,
    parts: JoinSet<anyhow::Result<()>>,
    stop_service: CancellationToken,
    stop_parts: CancellationToken,
    _folder: Folder,
}

impl Stage {
    /// Starts everything on free ports of the loopback interface.
    pub(super) async fn set(
        fleet: &FleetOptions,
        start: impl AsyncFnOnce(Config, CancellationToken) -> anyhow::Result<Service>,
    ) -> anyhow::Result<Self> {
        let (hub_listener, receiver_listener) = (listen().await?, listen().await?);
        let folder = Folder::create()?;
        let secret = receiver::fresh_secret();
        let signer = Signer::new(std::slice::from_ref(&secret))?;
        let (watch, inbox) = (Stopwatch::start(), Inbox::default());
        let hub = Hub::new(hub_options(), watch.now());
        let config = service::config(
            fleet,
            Surroundings {
                hub: HUB.to_owned(),
                connection_string: connection_string(hub.options(), hub_listener.local_addr()?),
                receiver: receiver_listener.local_addr()?,
                secret,
                store: folder.path().to_owned(),
            },
        )?;
        let (stop_service, stop_parts) = (CancellationToken::new(), CancellationToken::new());
        let mut parts = JoinSet::new();
        let (serving, stop) = (hub.clone(), stop_parts.clone());
        parts.spawn(async move { Ok(serving.serve(hub_listener, stop).await?) });
        let (taking, stop) = (inbox.clone(), stop_parts.clone());
        parts.spawn(async move {
            Ok(receiver::serve(receiver_listener, signer, taking, watch, stop).await?)
        });
        let service = start(config, stop_service.clone()).await?;
        Ok(Self {
            inbox,
            watch,
            look: service.look,
            hub,
            service: Some(service.task),
            parts,
            stop_service,
            stop_parts,
            _folder: folder,
        })
    }

    /// Waits until the service reads every partition.
    pub(super) async fn attached(&mut self) -> anyhow::Result<()> {
        let attached = async {
            while self.hub.counts().open_receivers < PARTITIONS as u64 {
                self.check().await?;
                tokio::time::sleep(ATTACH_LOOK).await;
            }
            Ok(())
        };
        tokio::time::timeout(ATTACH_DEADLINE, attached).await.map_err(|_| {
            anyhow!("the service did not attach to the embedded hub within {ATTACH_DEADLINE:?}")
        })?
    }

    /// Lets the fleet live.
    pub(super) fn start_fleet(&mut self, plan: Plan, record: Record) {
        let (hub, watch, stop) = (self.hub.clone(), self.watch, self.stop_parts.clone());
        self.parts.spawn(async move {
            driver::drive(plan, hub, watch, record, stop).await;
            Ok(())
        });
    }

    /// An error if the service has ended, or another part has failed.
    pub(super) async fn check(&mut self) -> anyhow::Result<()> {
        if let Some(part) = self.parts.try_join_next() {
            part.context("a part of the demo panicked")?.context("a part of the demo failed")?;
        }
        match self.service.take_if(|task| task.is_finished()) {
            None => Ok(()),
            Some(task) => {
                task.await.context("the service panicked")?.context("the service failed")?;
                Err(anyhow!("the service ended without being asked to"))
            }
        }
    }

    /// Ends everything: the service first, while the fleet is alive, so that the fleet's end is no silence.
    pub(super) async fn strike(mut self) {
        self.stop_service.cancel();
        let stopped = async {
            if let Some(task) = self.service.take()
                && let Ok(Err(error)) = task.await
            {
                tracing::warn!(%error, "the service did not end in order");
            }
            self.stop_parts.cancel();
            while self.parts.join_next().await.is_some() {}
        };
        if tokio::time::timeout(END_DEADLINE, stopped).await.is_err() {
            tracing::warn!("not every part of the demo ended within {END_DEADLINE:?}");
        }
    }
}

async fn listen() -> anyhow::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .await
        .context("can't listen on the loopback interface")
}

fn hub_options() -> HubOptions {
    HubOptions {
        name: HUB.to_owned(),
        entity: "demo-events".to_owned(),
        partitions: PARTITIONS,
        retention_messages: RETENTION_MESSAGES,
        key_name: "demo".to_owned(),
        key: BASE64.encode(rand::random::<[u8; 32]>()),
    }
}
