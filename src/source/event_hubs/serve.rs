//! One connection's life: authenticate, discover the partitions, receive from all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::auth::{Cbs, Credential};
use super::connection_string::{Endpoint, Target};
use super::management::Management;
use super::partition::{Attachments, Evidence, Partition, Shared};
use super::prover::{Subject, prove};
use super::sas::KeyForm;
use super::{EventHubs, redirect};
use crate::clock;
use crate::engine::BlindReason;
use crate::source::amqp_link::connection::Connection;
use crate::source::amqp_link::dial::Dial;
use crate::source::amqp_link::link_error::LinkError;

/// What ends with a connection.
enum Ended {
    Partition(Box<Partition>, Result<(), LinkError>),
    /// The prover; or, never, the renewal of tokens.
    Helper(Result<(), LinkError>),
}

impl EventHubs {
    /// Connects and receives until `stop` (`Ok`) or until something fails.
    pub(super) async fn serve(&mut self, stop: &CancellationToken) -> Result<(), LinkError> {
        let opening = async {
            let (endpoint, entity) = self.locate().await?;
            let connection = self.open(&endpoint, &entity).await?;
            Ok::<_, LinkError>((endpoint, entity, connection))
        };
        let (endpoint, entity, mut connection) = tokio::select! {
            opened = opening => opened?,
            () = stop.cancelled() => return Ok(()),
        };
        let served = self.serve_on(&mut connection, &endpoint, &entity, stop).await;
        let fault = connection.guard().fault();
        connection.close().await;
        match (served, fault) {
            (Err(_), Some(fault)) => Err(LinkError::Ended(fault)),
            (served, _) => served,
        }
    }

    /// Where the event hub is: said by the connection string, or by the IoT Hub.
    async fn locate(&self) -> Result<(Endpoint, String), LinkError> {
        let endpoint = &self.connection_string.endpoint;
        match &self.connection_string.target {
            Target::EventHub(entity) => Ok((endpoint.clone(), entity.clone())),
            Target::IotHub => {
                let credential = self.credential(endpoint, None);
                let dial = self.dial(endpoint, true);
                let mut connection = self.connect(&dial, &credential).await?;
                let mut session = connection.begin().await?;
                let cbs = Cbs::begin(&mut session, credential).await?;
                let located = redirect::resolve(&mut session, endpoint).await;
                drop(cbs);
                connection.close().await;
                located
            }
        }
    }

    async fn open(&self, endpoint: &Endpoint, entity: &str) -> Result<Connection, LinkError> {
        let credential = self.credential(endpoint, Some(entity));
        let dial = self.dial(endpoint, false);
        self.connect(&dial, &credential).await
    }

    async fn connect(&self, dial: &Dial, credential: &Credential) -> Result<Connection, LinkError> {
        let container_id = format!("lastseen-{}", self.context.name);
        Connection::open(dial, &dial.host, &credential.sasl()?, &container_id).await
    }

    /// `entity`: an event hub's; without one it is for an IoT Hub.
    fn credential(&self, endpoint: &Endpoint, entity: Option<&str>) -> Credential {
        let host = &endpoint.host;
        Credential {
            method: self.config.auth.clone(),
            key_name: self.connection_string.key_name.clone(),
            key: self.connection_string.key.clone(),
            form: match entity {
                Some(_) => KeyForm::Text,
                None => KeyForm::Base64,
            },
            audience: match entity {
                Some(entity) => format!("sb://{host}/{entity}"),
                None => host.clone(),
            },
            hub: host.split('.').next().unwrap_or_default().to_owned(),
            timing: self.timing.token,
        }
    }

    async fn serve_on(
        &mut self,
        connection: &mut Connection,
        endpoint: &Endpoint,
        entity: &str,
        stop: &CancellationToken,
    ) -> Result<(), LinkError> {
        let ending = stop.child_token();
        let mut tasks = JoinSet::new();
        let beginning = self.begin(connection, endpoint, entity, &ending, &mut tasks);
        let mut reports = tokio::select! {
            begun = beginning => begun?,
            () = stop.cancelled() => return Ok(()),
        };
        let ended = self.watch(&mut tasks, &mut reports, stop).await;
        ending.cancel();
        while let Some(joined) = tasks.join_next().await {
            self.take_back(joined);
        }
        ended
    }

    /// Authenticates, discovers the partitions, and starts everything.
    async fn begin(
        &mut self,
        connection: &mut Connection,
        endpoint: &Endpoint,
        entity: &str,
        ending: &CancellationToken,
        tasks: &mut JoinSet<Ended>,
    ) -> Result<mpsc::Receiver<(String, Option<String>)>, LinkError> {
        let mut session = connection.begin().await?;
        let credential = self.credential(endpoint, Some(entity));
        let cbs = Cbs::begin(&mut session, credential).await?;
        let management = Arc::new(Management::attach(&mut session, entity).await?);
        let hub = management.hub().await?;
        let stream = Self::stream(endpoint, entity, hub.created_at);
        let shared = Arc::new(self.shared(connection, entity, stream, &management, ending).await?);
        let partitions = self.take_partitions(&hub.partition_ids).await;
        let (report, reports) = mpsc::channel(partitions.len().max(1) * 2);
        let mut subjects = Vec::with_capacity(partitions.len());
        for mut partition in partitions {
            let (answer, answers) = mpsc::channel(1);
            let evidence = Arc::new(Evidence::default());
            subjects.push(Subject {
                id: partition.id.clone(),
                progress: partition.link.progress.clone(),
                evidence: evidence.clone(),
                answers: answer,
                asked_boot_ms: clock::boot_ms(),
                under_way: false,
            });
            let mut ends = Attachments { answers, evidence, report: report.clone() };
            let shared = shared.clone();
            tasks.spawn(async move {
                let ended = partition.run(&shared, &mut ends).await;
                Ended::Partition(Box::new(partition), ended)
            });
        }
        let prover = prove(management, self.clock.clone(), subjects);
        let (until, source) = (ending.clone(), self.context.name.clone());
        tasks.spawn(async move {
            let _session = session;
            let renewal = async {
                match cbs {
                    Some(cbs) => cbs.keep_renewed(&source).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                proved = prover => Ended::Helper(proved),
                () = renewal => Ended::Helper(Ok(())),
                () = until.cancelled() => Ended::Helper(Ok(())),
            }
        });
        Ok(reports)
    }

    async fn shared(
        &self,
        connection: &mut Connection,
        entity: &str,
        stream: u64,
        management: &Arc<Management>,
        ending: &CancellationToken,
    ) -> Result<Shared, LinkError> {
        Ok(Shared {
            source: self.context.name.clone(),
            entity: entity.to_owned(),
            consumer_group: self.config.consumer_group.clone(),
            start: self.config.start,
            owner_level: self.config.owner_level,
            credit: self.config.credit.max(2),
            stream,
            session: Mutex::new(connection.begin().await?),
            management: management.clone(),
            clock: self.clock.clone(),
            stop: ending.clone(),
            stolen_wait_ms: self.timing.stolen_wait_ms,
            counters: self.counters.clone(),
        })
    }

    /// The partitions that the event hub has. Those that it no longer has stay behind, blind.
    async fn take_partitions(&mut self, ids: &[String]) -> Vec<Partition> {
        let mut gone = std::mem::take(&mut self.partitions);
        let taken = ids
            .iter()
            .map(|id| {
                gone.remove(id)
                    .unwrap_or_else(|| Partition::new(id.clone(), self.context.partitions.open(id)))
            })
            .collect();
        for partition in gone.values() {
            let detail = format!("the event hub has no partition {} any more", partition.id);
            partition.blind(BlindReason::StreamReset, detail).await;
        }
        self.partitions = gone;
        taken
    }

    /// Keeps the status until something ends.
    async fn watch(
        &mut self,
        tasks: &mut JoinSet<Ended>,
        reports: &mut mpsc::Receiver<(String, Option<String>)>,
        stop: &CancellationToken,
    ) -> Result<(), LinkError> {
        let expected = tasks.len() - 1;
        let mut states = BTreeMap::new();
        loop {
            tokio::select! {
                Some((id, trouble)) = reports.recv() => {
                    states.insert(id, trouble);
                    self.note(expected, &states);
                }
                Some(joined) = tasks.join_next() => {
                    if let Some(error) = self.take_back(joined) {
                        return Err(error);
                    }
                }
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    fn note(&self, expected: usize, states: &BTreeMap<String, Option<String>>) {
        let trouble = states.values().flatten().next();
        let connected = states.len() == expected && trouble.is_none();
        let first = self.context.status.borrow().connected != connected && connected;
        if first {
            self.connects.increment(1);
            tracing::info!(source = &*self.context.name, partitions = expected, "connected");
        }
        self.gauge.set(if connected { 1.0 } else { 0.0 });
        self.context.status.send_modify(|status| {
            status.connected = connected;
            status.reason = trouble.cloned();
            status.connects += u64::from(first);
        });
    }

    /// Takes a partition back; returns why it, or a helper, ended.
    fn take_back(&mut self, joined: Result<Ended, tokio::task::JoinError>) -> Option<LinkError> {
        match joined {
            Ok(Ended::Partition(partition, ended)) => {
                self.partitions.insert(partition.id.clone(), *partition);
                ended.err()
            }
            Ok(Ended::Helper(ended)) => ended.err(),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => None,
            },
        }
    }
}
