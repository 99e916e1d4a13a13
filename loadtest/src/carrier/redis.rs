//! What many would take instead: keys of Redis that expire, and its notices of that.

use anyhow::{Context, bail, ensure};
use lastseen::devhub::hub::Stencil;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::plan::{Action, Moment};

/// A connection that pipelines `SET id "" EX seconds`.
pub(crate) struct RedisKeys {
    stream: BufReader<TcpStream>,
    stencil: Stencil,
    seconds: String,
    commands: Vec<u8>,
}

/// The answer to one of them.
const OK: &[u8] = b"+OK\r\n";

impl RedisKeys {
    /// Keys live for a whole number of seconds.
    pub(crate) async fn open(port: u16, seconds: u64) -> anyhow::Result<Self> {
        let stream = connect(port).await?;
        let seconds = seconds.to_string();
        Ok(Self { stream, stencil: super::stencil(), seconds, commands: Vec::new() })
    }

    pub(super) async fn carry(&mut self, moments: &[Moment]) -> anyhow::Result<()> {
        let mut sent = 0;
        self.commands.clear();
        for moment in moments.iter().filter(|moment| moment.action == Action::Heartbeat) {
            let device = self.stencil.device_id(moment.number);
            command(&mut self.commands, &["SET", &device, "", "EX", &self.seconds]);
            sent += 1;
        }
        self.stream.write_all(&self.commands).await?;
        let mut answer = [0; OK.len()];
        for _ in 0..sent {
            self.stream.read_exact(&mut answer).await?;
            ensure!(answer == OK, "Redis answered {}", String::from_utf8_lossy(&answer));
        }
        Ok(())
    }
}

/// A subscription to the keys that expire.
pub(crate) struct Expiries {
    stream: BufReader<TcpStream>,
}

impl Expiries {
    pub(crate) async fn subscribe(port: u16) -> anyhow::Result<Self> {
        let mut stream = connect(port).await?;
        let mut subscribe = Vec::new();
        command(&mut subscribe, &["SUBSCRIBE", "__keyevent@0__:expired"]);
        stream.write_all(&subscribe).await?;
        let mut expiries = Self { stream };
        // The subscription's own answer ends with how many there are.
        for _ in 0..2 {
            expiries.length(b'$').await?;
            expiries.line().await?;
        }
        Ok(expiries)
    }

    /// The next key that expired.
    pub(crate) async fn next(&mut self) -> anyhow::Result<String> {
        let mut key = String::new();
        // A push is an array of three: "message", the channel, the key.
        while self.line().await?.as_bytes().first() != Some(&b'*') {}
        for _ in 0..3 {
            let length = self.length(b'$').await?;
            key = self.line().await?;
            ensure!(key.len() == length, "a key with a line break");
        }
        Ok(key)
    }

    async fn length(&mut self, kind: u8) -> anyhow::Result<usize> {
        loop {
            let line = self.line().await?;
            match line.as_bytes().split_first() {
                Some((first, _)) if *first == kind => break Ok(line[1..].parse()?),
                Some((b'*', _)) => {}
                Some(_) | None => bail!("Redis sent {line:?}"),
            }
        }
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line).await? > 0, "Redis closed the connection");
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}

async fn connect(port: u16) -> anyhow::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.context("no connection to Redis")?;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(stream))
}

/// Appends a command as the protocol (RESP 2) wants it: an array of texts.
fn command(out: &mut Vec<u8>, words: &[&str]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_texts_with_their_lengths() {
        let mut out = Vec::new();
        command(&mut out, &["SET", "pump", "", "EX", "30"]);
        let wanted = "*5\r\n$3\r\nSET\r\n$4\r\npump\r\n$0\r\n\r\n$2\r\nEX\r\n$2\r\n30\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }
}
