//! The courier: one message, by one way, within one deadline. Nothing that it says names a secret.

use std::time::Duration;

use hostward_config::Way;
use hostward_core::ask::Secret;
use hostward_core::id::Str;
use hostward_core::notify::Message;
use hostward_host::http::{Client, Failure, Method, Request};
use hostward_host::veil::Veil;
use hostward_host::{mail, secret};
use serde::Serialize;

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
}

impl Courier {
    pub(crate) fn new() -> Courier {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned().into();
        Courier { client: Client::default(), host }
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
            let url = secret::look(url).await?;
            let token = match token {
                Some(token) => Some(secret::look(token).await?),
                None => None,
            };
            Ok::<_, secret::Unusable>((url, token))
        };
        let (url, token) = match tokio::time::timeout(DEADLINE, read).await {
            Ok(Ok(secrets)) => secrets,
            Ok(Err(unusable)) => return Outcome::Failed(unusable.to_string()),
            Err(_) => return Outcome::Failed(format!("its secret could not be read within {DEADLINE:?}")),
        };
        let mut veil = Veil::default();
        veil.over_url(&url);
        if let Some(token) = &token {
            veil.over(token);
        }
        let mut request = Request::new(Method::POST, shape::below(&url, path));
        let bearer = token.map_or(Ok(()), |token| request.secret("authorization", &format!("Bearer {token}")));
        let put = bearer.and_then(|()| head.iter().try_for_each(|(name, value)| request.header(name, value)));
        if let Err(fault) = put {
            return Outcome::Failed(fault.to_string());
        }
        request.body = body.into();
        let sent = self.client.send(&request, DEADLINE.saturating_sub(begun.elapsed())).await;
        came_of(sent.map(|response| (response.status, response.body)), &veil)
    }
}

/// Receivers repeat what they were sent, and its path is a secret.
fn came_of(sent: Result<(u16, Vec<u8>), Failure>, veil: &Veil) -> Outcome {
    match sent {
        Ok((status @ 200..=299, _)) => Outcome::Sent(format!("status {status}")),
        Ok((status, body)) => {
            let said = String::from_utf8_lossy(&body).split_whitespace().collect::<Vec<_>>().join(" ");
            let said = veil.excerpt(&said, SAID_MAX);
            Outcome::Failed(if said.is_empty() {
                format!("status {status}")
            } else {
                format!("status {status}: {said}")
            })
        }
        Err(failure) => {
            let why = veil.excerpt(&failure.to_string(), SAID_MAX).to_string();
            if arrived(&failure) { Outcome::Unclear(why) } else { Outcome::Failed(why) }
        }
    }
}

/// The connection stood, so the request may have been read.
fn arrived(failure: &Failure) -> bool {
    match failure {
        Failure::TimedOut(_) => true,
        Failure::Silent(why) => !why.contains("refused"),
        Failure::Untrusted(_) | Failure::Unresolved(_) | Failure::Ours(_) => false,
    }
}
