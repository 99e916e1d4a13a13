//! Attaching links: who may, to what, from where.

use std::collections::VecDeque;
use std::sync::Arc;

use super::address::{self, Node};
use super::connection::Connection;
use super::link::{Feed, INLET_CREDIT, Inlet, Link, Outlet, Reader, guard};
use super::performative::{
    Fault, Performative, SOURCE, TARGET, condition, described, inside, uint,
};
use super::{Endpoint, frame, selector};
use crate::devhub::hub::MAX_MESSAGE_BYTES;
use crate::devhub::value::Value;

/// The greatest handle: bounds the links of a session.
pub(super) const MAX_HANDLE: u32 = 255;

const EPOCH: &str = "com.microsoft:epoch";
const RECEIVER_NAME: &str = "com.microsoft:receiver-name";
const RUNTIME_METRIC: &str = "com.microsoft:enable-receiver-runtime-metric";

/// `snd-settle-mode` of a client that wants deliveries settled by the sender.
const SETTLED: u32 = 1;

/// Numbers of fields.
const SOURCE_FIELDS: usize = 11;
const TARGET_FIELDS: usize = 7;

/// What a client's attach asks for.
struct Request<'a> {
    fields: &'a Value,
    name: &'a str,
    handle: u32,
    /// True if the hub is to send.
    client_receives: bool,
}

impl Connection {
    /// Attaches a link or refuses it. A refusal is an attach without the terminus that could not be had, then a
    /// detach with the reason (OASIS AMQP 1.0, part 2, section 2.6.3). An error here is the end of the connection.
    pub(super) fn on_attach(&mut self, channel: u16, fields: &Value) -> Result<(), Fault> {
        let handle = uint(fields.field(1)).filter(|handle| *handle <= MAX_HANDLE);
        let (Some(name), Some(handle), Value::Bool(client_receives)) =
            (fields.field(0).text(), handle, fields.field(2))
        else {
            return Err(Fault::new(
                condition::NOT_ALLOWED,
                format!("An attach needs a name, a role and a handle of at most {MAX_HANDLE}."),
            ));
        };
        let request = Request { fields, name, handle, client_receives: *client_receives };
        if self.session(channel)?.links.contains_key(&handle) {
            return Err(Fault::new(
                condition::NOT_ALLOWED,
                format!("The handle {handle} is in use."),
            ));
        }
        match self.open_link(&request) {
            Ok(link) => {
                self.put_attach(channel, &request, true);
                let inlet = matches!(link, Link::Inlet(_));
                self.session(channel)?.links.insert(handle, link);
                if inlet {
                    self.put_inlet_credit(channel, handle, 0);
                }
            }
            Err(fault) => {
                self.put_attach(channel, &request, false);
                self.put_detach(channel, handle, fault);
            }
        }
        Ok(())
    }

    fn open_link(&mut self, request: &Request<'_>) -> Result<Link, Fault> {
        let (source, target) = (inside(request.fields.field(5)), inside(request.fields.field(6)));
        let terminus = if request.client_receives { source } else { target };
        let address = terminus.field(0).text().unwrap_or("");
        let node = address::node(address, &self.endpoint.hub)?;
        let path = address::path(address);
        if !self.authorized(guard(&node, &path)) {
            return Err(unauthorized(address));
        }
        if request.client_receives {
            self.open_outlet(request, node, path, source, target).map(Link::Outlet)
        } else {
            open_inlet(node, path).map(Link::Inlet)
        }
    }

    fn open_outlet(
        &mut self,
        request: &Request<'_>,
        node: Node,
        path: String,
        source: &Value,
        target: &Value,
    ) -> Result<Outlet, Fault> {
        let feed = match node {
            Node::Partition { group, partition } => {
                let start = selector::start(source.field(7))?;
                Feed::Partition(self.open_reader(request, group, partition, &start)?)
            }
            Node::Cbs | Node::Management => Feed::Replies { node, queue: VecDeque::new() },
            Node::Events { management } => return Err(redirect(&self.endpoint, management)),
            Node::Entity { .. } => {
                return Err(Fault::new(
                    condition::NOT_ALLOWED,
                    format!(
                        "'{path}' can't be received from; address a partition of a consumer group."
                    ),
                ));
            }
        };
        Ok(Outlet {
            name: request.name.to_owned(),
            path,
            target: target.field(0).text().map(str::to_owned),
            credit: 0,
            delivery_count: 0,
            drain: false,
            settled: uint(request.fields.field(3)) == Some(SETTLED),
            feed,
        })
    }

    fn open_reader(
        &self,
        request: &Request<'_>,
        group: String,
        partition: usize,
        start: &crate::devhub::hub::StartFrom,
    ) -> Result<Reader, Fault> {
        let invalid =
            |error: &dyn std::fmt::Display| Fault::new(condition::ARGUMENT, error.to_string());
        let next = self
            .endpoint
            .hub
            .resolve(partition, start)
            .map_err(|error| invalid(&error))?
            .map_err(|error| invalid(&error))?;
        let properties = request.fields.field(13);
        let epoch = properties.entry(EPOCH).and_then(Value::integer);
        let name = properties.entry(RECEIVER_NAME).and_then(Value::text).unwrap_or(request.name);
        let metrics = request.fields.field(12).lists_symbol(RUNTIME_METRIC);
        let seat =
            self.endpoint.seats.take((group, partition), epoch, name, Arc::clone(&self.wake))?;
        Ok(Reader::new(&self.endpoint, partition, next, metrics, seat))
    }

    fn put_attach(&mut self, channel: u16, request: &Request<'_>, granted: bool) {
        let fields = request.fields;
        let echo = |field: usize, code, length| {
            let Value::List(mut list) = inside(fields.field(field)).clone() else {
                return described(code, vec![Value::Null; length]);
            };
            list.resize(length, Value::Null);
            described(code, list)
        };
        let (mut source, mut target) =
            (echo(5, SOURCE, SOURCE_FIELDS), echo(6, TARGET, TARGET_FIELDS));
        if !granted && request.client_receives {
            source = Value::Null;
        } else if !granted {
            target = Value::Null;
        }
        let offered = if fields.field(12).lists_symbol(RUNTIME_METRIC) {
            Value::symbol(RUNTIME_METRIC)
        } else {
            Value::Null
        };
        let reply = vec![
            Value::string(request.name),
            Value::Uint(request.handle),
            Value::Bool(!request.client_receives),
            fields.field(3).clone(),
            fields.field(4).clone(),
            source,
            target,
            Value::Null,
            Value::Bool(false),
            if request.client_receives { Value::Uint(0) } else { Value::Null },
            Value::Ulong(MAX_MESSAGE_BYTES as u64),
            offered,
            Value::Null,
            fields.field(13).clone(),
        ];
        frame::put(&mut self.out, channel, Performative::Attach, reply);
    }

    /// Gives a producer its whole credit again, counted from `delivery_count`.
    pub(super) fn put_inlet_credit(&mut self, channel: u16, handle: u32, delivery_count: u32) {
        let link = Some((handle, delivery_count, INLET_CREDIT, false));
        if let Some(session) = self.sessions.get(&channel) {
            session.window.put_flow(&mut self.out, channel, link);
        }
    }

    /// Closes a link with an error.
    pub(super) fn put_detach(&mut self, channel: u16, handle: u32, fault: Fault) {
        let fields = vec![Value::Uint(handle), Value::Bool(true), fault.value()];
        frame::put(&mut self.out, channel, Performative::Detach, fields);
    }
}

fn open_inlet(node: Node, path: String) -> Result<Inlet, Fault> {
    match node {
        Node::Cbs | Node::Management | Node::Entity { .. } => {
            Ok(Inlet { node, path, delivery_count: 0, used: 0, partial: None })
        }
        Node::Partition { .. } | Node::Events { .. } => Err(Fault::new(
            condition::NOT_ALLOWED,
            format!("'{path}' can't be sent to; address the event hub or one of its partitions."),
        )),
    }
}

pub(super) fn unauthorized(address: &str) -> Fault {
    Fault::new(
        condition::UNAUTHORIZED,
        format!("Unauthorized access. No valid token for '{address}' was put at $cbs."),
    )
}

/// Where the events of an IoT Hub are ("Read device-to-cloud messages from the built-in endpoint").
fn redirect(endpoint: &Endpoint, management: bool) -> Fault {
    let own = (endpoint.address.ip().to_string(), endpoint.address.port());
    let (host, port) = endpoint.options.redirect.clone().unwrap_or(own);
    let suffix = if management { "$management" } else { "" };
    let entity = &endpoint.hub.options().entity;
    let mut fault =
        Fault::new(condition::REDIRECT, format!("The events of this hub are at '{host}'."));
    fault.info = vec![
        (Value::symbol("hostname"), Value::string(&host)),
        (Value::symbol("network-host"), Value::string(&host)),
        (Value::symbol("port"), Value::Int(i32::from(port))),
        (
            Value::symbol("address"),
            Value::string(format!("amqps://{host}:{port}/{entity}/{suffix}")),
        ),
    ];
    fault
}
