//! A webhook receiver that trusts nobody: every request is verified with an independent implementation of Standard
//! Webhooks before it counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use lastseen::clock;
use serde_json::Value;
use tokio::net::TcpListener;

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";

/// A verified webhook.
#[derive(Clone, Debug)]
pub struct Notice {
    pub received_ms: i64,
    pub data: Value,
}

#[derive(Clone, Default)]
struct Inbox {
    notices: Arc<Mutex<BTreeMap<String, Notice>>>,
    refused: Arc<Mutex<Vec<String>>>,
}

pub struct Receiver {
    pub url: String,
    inbox: Inbox,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let inbox = Inbox::default();
        let router = Router::new().route("/hook", post(take)).with_state(inbox.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, inbox }
    }

    /// What was received, in no order; a repeat counts once.
    pub fn notices(&self) -> Vec<Notice> {
        let refused = self.inbox.refused.lock().unwrap();
        assert!(refused.is_empty(), "webhooks that do not verify: {refused:?}");
        self.inbox.notices.lock().unwrap().values().cloned().collect()
    }

    /// First firing notice of each device that has one.
    pub fn flagged(&self) -> BTreeMap<String, Notice> {
        self.of_status("firing")
    }

    pub fn of_status(&self, status: &str) -> BTreeMap<String, Notice> {
        let mut by_device: BTreeMap<String, Notice> = BTreeMap::new();
        for notice in self.notices() {
            if notice.data["status"] == status
                && let Some(device) = notice.identity()
            {
                let known = by_device.entry(device).or_insert_with(|| notice.clone());
                if notice.received_ms < known.received_ms {
                    *known = notice;
                }
            }
        }
        by_device
    }

    pub fn flagged_names(&self) -> BTreeSet<String> {
        self.flagged().into_keys().collect()
    }
}

impl Notice {
    /// `device`, or `device/module`.
    pub fn identity(&self) -> Option<String> {
        let device = self.data["device_id"].as_str()?;
        Some(match self.data["module_id"].as_str() {
            Some(module) => format!("{device}/{module}"),
            None => device.to_owned(),
        })
    }
}

async fn take(State(inbox): State<Inbox>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let received_ms = clock::wall().as_ms();
    let webhook = standardwebhooks::Webhook::new(SECRET).unwrap();
    if let Err(error) = webhook.verify(&body, &headers) {
        inbox.refused.lock().unwrap().push(format!("{error}"));
        return StatusCode::UNAUTHORIZED;
    }
    let id = headers["webhook-id"].to_str().unwrap().to_owned();
    let mut body: Value = serde_json::from_slice(&body).unwrap();
    let notice = Notice { received_ms, data: body["data"].take() };
    inbox.notices.lock().unwrap().entry(id).or_insert(notice);
    StatusCode::NO_CONTENT
}
