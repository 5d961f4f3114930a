//! The courier: one message, by one way, within one deadline. Nothing that it says names a secret.

use std::time::Duration;

use hostward_config::Way;
use hostward_core::ask::Secret;
use hostward_core::id::Str;
use hostward_core::notify::Message;
use hostward_host::http::{Client, Failure, Method, Request};
use hostward_host::{mail, secret};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::shape;

/// For all of it: the secret, the connection, the answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// Of an answer's body, when it says why not.
const SAID_MAX: usize = 200;

/// What came of it, and what came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Sent(String),
    Failed(String),
    /// It may have arrived.
    Unclear(String),
}

#[derive(Debug)]
pub(crate) struct Courier {
    client: Client,
    pub(crate) host: Str,
    /// A secret on a file system that hangs costs one thread.
    reading: Semaphore,
}

impl Courier {
    pub(crate) fn new() -> Courier {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned().into();
        Courier { client: Client::default(), host, reading: Semaphore::const_new(1) }
    }

    pub(super) fn forget(&self) {
        self.client.forget();
    }

    pub(crate) async fn deliver(&self, way: &Way, message: &Message) -> Outcome {
        let (title, text) = (message.title(&self.host), message.text());
        match way {
            Way::Webhook { url, token } => {
                let body = shape::json(&self.host, message);
                self.post(url, token.as_ref(), "", &shape::webhook_head(&self.host, message), body).await
            }
            Way::Ntfy { url, token, tags } => {
                self.post(url, token.as_ref(), "", &shape::ntfy_head(message, &title, tags), shape::short(&text))
                    .await
            }
            Way::Healthchecks { url, .. } => {
                self.post(url, None, shape::ping(message), &[], format!("{title}\n\n{text}").into_bytes()).await
            }
            Way::Sendmail { to, from, program } => {
                let mail = shape::mail(&self.host, to, from.as_deref(), message);
                match tokio::time::timeout(DEADLINE, mail::send(program, &mail)).await {
                    Ok(Ok(())) => Outcome::Sent(format!("{} took it", program.display())),
                    Ok(Err(not_taken)) => Outcome::Failed(not_taken.to_string()),
                    Err(_) => Outcome::Unclear(format!("'{}' took longer than {DEADLINE:?}", program.display())),
                }
            }
        }
    }

    /// All is well.
    pub(super) async fn beat(&self, url: &Secret) -> Outcome {
        self.post(url, None, "", &[], Vec::new()).await
    }

    async fn post(
        &self,
        url: &Secret,
        token: Option<&Secret>,
        path: &str,
        head: &[(&str, String)],
        body: Vec<u8>,
    ) -> Outcome {
        let begun = tokio::time::Instant::now();
        let read = async {
            let url = self.read(url).await?;
            let token = match token {
                Some(token) => Some(self.read(token).await?),
                None => None,
            };
            Ok((url, token))
        };
        let (url, token) = match tokio::time::timeout(DEADLINE, read).await {
            Ok(Ok(secrets)) => secrets,
            Ok(Err(why)) => return Outcome::Failed(why),
            Err(_) => return Outcome::Failed(format!("its secret could not be read within {DEADLINE:?}")),
        };
        let mut request = Request::new(Method::POST, shape::below(&url, path));
        let bearer = token.map_or(Ok(()), |token| request.secret("authorization", &format!("Bearer {token}")));
        let put = bearer.and_then(|()| head.iter().try_for_each(|(name, value)| request.header(name, value)));
        if let Err(fault) = put {
            return Outcome::Failed(fault.to_string());
        }
        request.body = body.into();
        let sent = self.client.send(&request, DEADLINE.saturating_sub(begun.elapsed())).await;
        came_of(sent.map(|response| (response.status, response.body)))
    }

    /// On a thread: a file system may hang, and then only this notifier waits.
    async fn read(&self, secret: &Secret) -> Result<String, String> {
        // It is never closed.
        let _turn = self.reading.acquire().await.map_err(|e| e.to_string())?;
        let kept = secret.clone();
        let read = tokio::task::spawn_blocking(move || secret::read(&kept));
        read.await.map_err(|e| e.to_string())?.map_err(|unusable| unusable.to_string())
    }
}

fn came_of(sent: Result<(u16, Vec<u8>), Failure>) -> Outcome {
    match sent {
        Ok((status @ 200..=299, _)) => Outcome::Sent(format!("status {status}")),
        Ok((status, body)) => {
            let said: String = String::from_utf8_lossy(&body).chars().take(SAID_MAX).collect();
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            Outcome::Failed(if said.is_empty() {
                format!("status {status}")
            } else {
                format!("status {status}: {said}")
            })
        }
        Err(failure @ Failure::TimedOut(_)) => Outcome::Unclear(failure.to_string()),
        Err(Failure::Silent(why)) if arrived(&why) => Outcome::Unclear(why.to_string()),
        Err(failure) => Outcome::Failed(failure.to_string()),
    }
}

/// The connection stood, so the request may have been read.
fn arrived(why: &str) -> bool {
    !why.contains("refused")
}
