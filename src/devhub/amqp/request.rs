//! Requests at `$cbs` and `$management`: the answer goes to the link that the request names.

use bytes::Bytes;

use super::address::Node;
use super::connection::Connection;
use super::link::{Feed, Link, MAX_REPLIES, Outlet};
use super::management;
use super::message::{Message, reply};
use super::performative::{Fault, condition};
use super::token::{self, Grant};
use crate::devhub::value::Value;
use crate::engine::Timestamp;

/// `reply-to` in the properties.
const REPLY_TO: usize = 4;

/// The most tokens a connection may hold: one for each link at most.
const MAX_GRANTS: usize = 256;

const SAS: &str = "servicebus.windows.net:sastoken";

/// How long a `jwt` of the options is good: the hub does not look inside.
const JWT_LIFETIME_MS: i64 = 3_600_000;

impl Connection {
    /// Answers a request at `node`, which came in on `channel`.
    pub(super) fn on_request(
        &mut self,
        channel: u16,
        node: &Node,
        request: &Message,
    ) -> Result<(), Fault> {
        let answer = match node {
            Node::Cbs => self.put_token(request),
            Node::Management
            | Node::Partition { .. }
            | Node::Entity { .. }
            | Node::Events { .. } => management::answer(&self.endpoint.hub, request),
        };
        let reply_to = request.properties.field(REPLY_TO).text();
        let Some(queue) = self.reply_queue(channel, node, reply_to) else {
            return Err(Fault::new(
                condition::NOT_FOUND,
                "There is no link for the reply: attach a receiver and name its target in reply-to.",
            ));
        };
        if queue.len() >= MAX_REPLIES {
            return Err(Fault::new(condition::RESOURCE_LIMIT, "Too many replies wait for credit."));
        }
        queue.push_back(answer);
        Ok(())
    }

    /// The link whose target, or name, is `reply_to`; without one, the first of this node in the same session.
    fn reply_queue(
        &mut self,
        channel: u16,
        node: &Node,
        reply_to: Option<&str>,
    ) -> Option<&mut std::collections::VecDeque<Bytes>> {
        let wanted = |at: u16, outlet: &Outlet| {
            let Feed::Replies { node: own, .. } = &outlet.feed else {
                return false;
            };
            own == node
                && match reply_to {
                    Some(to) => outlet.target.as_deref() == Some(to) || outlet.name == to,
                    None => at == channel,
                }
        };
        let links = self
            .sessions
            .iter_mut()
            .flat_map(|(at, session)| session.links.values_mut().map(|link| (*at, link)));
        for (at, link) in links {
            if let Link::Outlet(outlet) = link
                && wanted(at, outlet)
                && let Feed::Replies { queue, .. } = &mut outlet.feed
            {
                return Some(queue);
            }
        }
        None
    }

    fn put_token(&mut self, request: &Message) -> Bytes {
        let (Some("put-token"), Some(audience), Some(token)) =
            (request.property("operation"), request.property("name"), request.value.text())
        else {
            let text = "A put-token request needs a name and a token.";
            return reply(request, 400, text, Some(condition::ARGUMENT), Value::Null);
        };
        let kind = request.property("type").unwrap_or(SAS);
        match self.grant(kind, audience, token) {
            Ok(grant) => {
                self.grants.retain(|held| held.resource != grant.resource);
                if self.grants.len() < MAX_GRANTS {
                    self.grants.push(grant);
                }
                crate::devhub::hub::add(&self.endpoint.hub.counters().tokens);
                reply(request, 202, "Accepted", None, Value::Null)
            }
            Err(why) => reply(request, 401, &why, Some(condition::UNAUTHORIZED), Value::Null),
        }
    }

    /// What a token grants: the path of the audience, which the token's resource has to cover.
    fn grant(&self, kind: &str, audience: &str, token: &str) -> Result<Grant, String> {
        let hub = &self.endpoint.hub;
        if hub.faults().state().refuse_tokens {
            return Err("InvalidSignature: the development hub refuses tokens".to_owned());
        }
        let now = crate::clock::wall();
        let audience = token::bare(audience);
        let expires = match kind {
            SAS => {
                let grant =
                    token::check(token, hub.options(), now).map_err(|error| error.to_string())?;
                if !token::covers(&grant.resource, &audience) {
                    return Err(format!(
                        "InvalidAudience: a token for '{}' is not for '{audience}'",
                        grant.resource
                    ));
                }
                grant.expires
            }
            "jwt" | "amqp:jwt" if self.endpoint.options.jwt.as_deref() == Some(token) => {
                now.plus(JWT_LIFETIME_MS)
            }
            _ => return Err("InvalidToken: the token is of no accepted type or value".to_owned()),
        };
        let path = audience.split_once('/').map_or("", |(_, path)| path);
        Ok(Grant { resource: path.to_owned(), expires })
    }

    /// Drops tokens that have expired; true if there were any.
    pub(super) fn expire_tokens(&mut self, now: Timestamp) -> bool {
        let before = self.grants.len();
        self.grants.retain(|grant| grant.expires > now);
        self.grants.len() != before
    }
}
