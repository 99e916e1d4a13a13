//! Requests and their answers over a pair of links: `$cbs` and `$management` ("AMQP Management Version 1.0", working draft:
//! an answer carries the request's message id as its correlation id, and a status code).

use std::collections::HashMap;
use std::time::Duration;

use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::messaging::{
    AmqpValue, ApplicationProperties, Body, Message, MessageId, Properties, Target,
};
use fe2o3_amqp::types::primitives::{SimpleValue, Value};
use fe2o3_amqp::{Delivery, Receiver, Sender};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::link_error::{LinkError, one_line};
use super::value;

/// How long an answer, or an attach, may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Most requests under way or waiting.
const MAX_REQUESTS: usize = 64;

/// An answer with a status of 200 to 299.
#[derive(Debug, PartialEq)]
pub struct Answer {
    /// The body's value; null if there was none.
    pub body: Value,
}

struct Request {
    properties: Vec<(&'static str, String)>,
    body: Value,
    answer: oneshot::Sender<Result<Answer, LinkError>>,
}

/// Asks one node. Dropping it detaches the links.
#[derive(Debug)]
pub struct Requester {
    node: &'static str,
    requests: mpsc::Sender<Request>,
    worker: JoinHandle<()>,
}

impl Requester {
    /// Attaches both links.
    pub async fn attach(
        session: &mut SessionHandle<()>,
        node: &'static str,
        address: &str,
    ) -> Result<Self, LinkError> {
        let reply_to = format!("{}-reply", node.trim_start_matches('$'));
        let attach = async {
            let sender =
                Sender::attach(session, format!("{reply_to}-request"), address.to_owned()).await?;
            let receiver = Receiver::builder()
                .name(reply_to.clone())
                .source(address.to_owned())
                .target(Target::builder().address(reply_to.clone()).build())
                .attach(session)
                .await?;
            Ok::<_, LinkError>((sender, receiver))
        };
        let (sender, receiver) =
            timeout(ANSWER_TIMEOUT, attach).await.map_err(|_| LinkError::Timeout(node))??;
        let (requests, queue) = mpsc::channel(MAX_REQUESTS);
        let worker =
            Worker { node, reply_to, sender, receiver, next_id: 0, pending: HashMap::new() };
        Ok(Self { node, requests, worker: tokio::spawn(worker.run(queue)) })
    }

    /// Sends a request and waits for its answer, 10 s at most.
    pub async fn ask(
        &self,
        properties: Vec<(&'static str, String)>,
        body: Value,
    ) -> Result<Answer, LinkError> {
        let ended = || LinkError::Ended(format!("the link to {} ended", self.node));
        let (answer, answered) = oneshot::channel();
        let request = Request { properties, body, answer };
        let exchange = async {
            self.requests.send(request).await.map_err(|_| ended())?;
            answered.await.map_err(|_| ended())?
        };
        timeout(ANSWER_TIMEOUT, exchange).await.map_err(|_| LinkError::Timeout(self.node))?
    }
}

impl Drop for Requester {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

struct Worker {
    node: &'static str,
    reply_to: String,
    sender: Sender,
    receiver: Receiver,
    next_id: u64,
    pending: HashMap<u64, oneshot::Sender<Result<Answer, LinkError>>>,
}

impl Worker {
    /// Until a link fails or nobody asks any more. What is pending then ends with the channel.
    async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        loop {
            tokio::select! {
                request = queue.recv() => match request {
                    Some(request) => if self.send(request).await.is_err() { return },
                    None => return,
                },
                delivery = self.receiver.recv::<Body<Value>>() => match delivery {
                    Ok(delivery) => if self.answer(delivery).await.is_err() { return },
                    Err(_) => return,
                },
            }
        }
    }

    async fn send(&mut self, request: Request) -> Result<(), LinkError> {
        self.pending.retain(|_, answer| !answer.is_closed());
        self.next_id += 1;
        let mut properties = ApplicationProperties::builder();
        for (key, value) in request.properties {
            properties = properties.insert(key, value);
        }
        let message = Message::builder()
            .properties(
                Properties::builder()
                    .message_id(format!("{}-{}", self.reply_to, self.next_id))
                    .reply_to(self.reply_to.clone())
                    .build(),
            )
            .application_properties(properties.build())
            .body(AmqpValue(request.body))
            .build();
        self.pending.insert(self.next_id, request.answer);
        // Settled by the answer, not by the disposition, which is let go.
        match self.sender.send_batchable(message).await {
            Ok(_disposition) => Ok(()),
            Err(error) => {
                let answer = self.pending.remove(&self.next_id);
                let _ = answer.map(|answer| answer.send(Err(error.into())));
                Err(LinkError::Ended(String::new()))
            }
        }
    }

    async fn answer(&mut self, delivery: Delivery<Body<Value>>) -> Result<(), LinkError> {
        self.receiver.accept(&delivery).await?;
        let message = delivery.into_message();
        let id = message
            .properties
            .as_ref()
            .and_then(|properties| properties.correlation_id.as_ref())
            .and_then(|id| self.own_id(id));
        let Some(answer) = id.and_then(|id| self.pending.remove(&id)) else {
            return Ok(()); // It came too late, or belongs to nobody.
        };
        // Whoever asked may have given up.
        let _ = answer.send(self.outcome(message));
        Ok(())
    }

    fn own_id(&self, id: &MessageId) -> Option<u64> {
        match id {
            MessageId::String(text) => {
                text.strip_prefix(self.reply_to.as_str())?.strip_prefix('-')?.parse().ok()
            }
            MessageId::Ulong(_) | MessageId::Uuid(_) | MessageId::Binary(_) => None,
        }
    }

    fn outcome(&self, message: Message<Body<Value>>) -> Result<Answer, LinkError> {
        let properties = message.application_properties.unwrap_or_default();
        let text = |key: &str| {
            let Some(SimpleValue::String(text)) = properties.get(key) else {
                return None;
            };
            Some(one_line(text))
        };
        let status = ["status-code", "statusCode"]
            .iter()
            .find_map(|key| properties.get(*key).and_then(value::status))
            .unwrap_or_default();
        if !(200..300).contains(&status) {
            return Err(LinkError::Status {
                node: self.node,
                status,
                description: text("status-description")
                    .or_else(|| text("statusDescription"))
                    .unwrap_or_else(|| "no description".to_owned()),
            });
        }
        let body = match message.body {
            Body::Value(AmqpValue(value)) => value,
            Body::Data(_) | Body::Sequence(_) | Body::Empty => Value::Null,
        };
        Ok(Answer { body })
    }
}
