//! A webhook receiver that follows a script and trusts nobody: every request goes to the oracle with what became of it.
//! It speaks just enough HTTP/1.1 by itself, so that it can end a connection between reading and answering.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use lastseen::clock;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::oracle::told::{Effect, Request, Told};

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";

/// What it does with the next requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Script {
    /// Acts on them and answers 204.
    #[default]
    Take,
    /// Answers 500 and does nothing.
    Fail,
    /// Acts on them, and answers after this long.
    Slow(Duration),
    /// Acts on them, and closes the connection instead of answering.
    LoseAnswer,
}

#[derive(Default)]
struct Inbox {
    told: Mutex<Told>,
    script: Mutex<Script>,
    /// How far the sender's clock may be off; the verification of a signature looks at the time, too.
    ignores_time: bool,
    /// Requests read so far.
    read: watch::Sender<u64>,
}

/// The receiver, until dropped.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    inbox: Arc<Inbox>,
    _stop: DropGuard,
}

impl Receiver {
    /// `ignores_time`: takes signatures of any time.
    pub(crate) async fn start(ignores_time: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inbox = Arc::new(Inbox { ignores_time, ..Inbox::default() });
        let stop = CancellationToken::new();
        let served = inbox.clone();
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, served.clone()));
            }
        }));
        Self { address, inbox, _stop: stop.drop_guard() }
    }

    pub(crate) fn follow(&self, script: Script) {
        *self.inbox.script.lock().unwrap() = script;
    }

    /// Looks at what was received.
    pub(crate) fn told<T>(&self, look: impl FnOnce(&Told) -> T) -> T {
        look(&self.inbox.told.lock().unwrap())
    }

    /// Changes with every request that was read, before it is answered.
    pub(crate) fn requests(&self) -> watch::Receiver<u64> {
        self.inbox.read.subscribe()
    }
}

async fn serve(stream: TcpStream, inbox: Arc<Inbox>) {
    let mut stream = BufReader::new(stream);
    // A connection that breaks off before its request is complete brought nothing.
    while let Some((headers, body)) = read(&mut stream).await {
        let script = *inbox.script.lock().unwrap();
        note(&inbox, headers, body, script);
        inbox.read.send_modify(|count| *count += 1);
        let status = match script {
            Script::Take => "204 No Content",
            Script::Slow(wait) => {
                tokio::time::sleep(wait).await;
                "204 No Content"
            }
            Script::Fail => "500 Internal Server Error",
            Script::LoseAnswer => return,
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// One request, or nothing if the connection ends before it is complete.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<(HeaderMap, Vec<u8>)> {
    let mut headers = HeaderMap::new();
    let mut first = true;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        match line.trim_end() {
            "" if line.ends_with('\n') => break,
            _ if !line.ends_with('\n') => return None,
            _ if std::mem::take(&mut first) => {}
            header => {
                let (name, value) = header.split_once(':')?;
                let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
                headers.append(name, HeaderValue::from_str(value.trim()).ok()?);
            }
        }
    }
    let length = headers.get("content-length")?.to_str().ok()?.parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((headers, body))
}

/// What is wrong with the signature, judged by an independent implementation of Standard Webhooks.
fn signature_fault(headers: &HeaderMap, body: &[u8], ignores_time: bool) -> Option<String> {
    let webhook = standardwebhooks::Webhook::new(SECRET).unwrap();
    if !ignores_time {
        return webhook.verify(body, headers).err().map(|error| error.to_string());
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let signed_at = text("webhook-timestamp").and_then(|seconds| seconds.parse().ok());
    let id = text("webhook-id").unwrap_or_default();
    let expected = webhook.sign(id, signed_at.unwrap_or_default(), body).ok();
    let given = text("webhook-signature").unwrap_or_default();
    let verifies = given.split(' ').any(|one| Some(one) == expected.as_deref());
    (!verifies).then(|| "signature invalid".to_owned())
}

fn note(inbox: &Inbox, headers: HeaderMap, body: Vec<u8>, script: Script) {
    let webhook_id = headers.get("webhook-id").and_then(|id| id.to_str().ok());
    let request = Request {
        received_ms: clock::wall().as_ms(),
        webhook_id: webhook_id.unwrap_or_default().to_owned(),
        signature_fault: signature_fault(&headers, &body, inbox.ignores_time),
        body,
        effect: match script {
            Script::Take | Script::Slow(_) => Effect::Taken,
            Script::LoseAnswer => Effect::TakenUnanswered,
            Script::Fail => Effect::Refused,
        },
    };
    inbox.told.lock().unwrap().note(request);
}
