//! One call over the control connection: bounded in number and time, its errors sorted by what they mean.

use std::io::ErrorKind;

use hostward_core::ask::Fault;
use hostward_core::id::Str;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zbus::{Connection, DBusError as _, DynamicType, OwnedVariant, Type};

use super::Systemd;

pub(super) const BUS: &str = "org.freedesktop.systemd1";
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
pub(super) const MANAGER_PATH: &str = "/org/freedesktop/systemd1";

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallError {
    /// No connection, or nobody at its other end.
    Away(Str),
    Timeout,
    Denied(Str),
    /// systemd answered, with an error of this name: `org.freedesktop.systemd1.NoSuchUnit`.
    Refused {
        name: Str,
        text: Str,
    },
    Unreadable(Str),
    /// The bus's own limits.
    Limits(Str),
}

impl CallError {
    /// What the call was about is not there, or no longer: data, not a failure. Units and jobs go between a signal and
    /// the question about them.
    pub(super) fn is_absent(&self) -> bool {
        let CallError::Refused { name, .. } = self else { return false };
        matches!(
            &**name,
            "org.freedesktop.systemd1.NoSuchUnit"
                | "org.freedesktop.systemd1.NoSuchJob"
                | "org.freedesktop.DBus.Error.UnknownObject"
                | "org.freedesktop.DBus.Error.UnknownInterface"
                | "org.freedesktop.DBus.Error.UnknownMethod"
        )
    }

    pub(super) fn text(&self) -> String {
        Fault::from(self.clone()).to_string()
    }
}

impl From<CallError> for Fault {
    fn from(e: CallError) -> Fault {
        match e {
            CallError::Away(text) => Fault::BusAway(text),
            CallError::Timeout => Fault::Timeout,
            CallError::Denied(text) => Fault::Denied(text),
            CallError::Refused { name, text } => Fault::Unreadable(format!("{name}: {text}").into()),
            CallError::Unreadable(text) => Fault::Unreadable(text),
            CallError::Limits(text) => Fault::Probe(text),
        }
    }
}

impl From<zbus::Error> for CallError {
    fn from(e: zbus::Error) -> CallError {
        use zbus::fdo::Error as Fdo;
        match &e {
            zbus::Error::InputOutput(io) if io.kind() == ErrorKind::TimedOut => CallError::Timeout,
            zbus::Error::InputOutput(io) => CallError::Away(io.to_string().into()),
            zbus::Error::MethodError(name, text, _) => {
                let text: Str = text.as_deref().unwrap_or_default().into();
                match name.as_str() {
                    "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" => CallError::Denied(text),
                    // systemd is shutting down or re-executing: it will not answer this one.
                    "org.freedesktop.systemd1.ShuttingDown" => CallError::Away(text),
                    name => CallError::Refused { name: name.into(), text },
                }
            }
            zbus::Error::FDO(fdo) => {
                let text: Str = fdo.description().unwrap_or_default().into();
                match &**fdo {
                    Fdo::AccessDenied(_) | Fdo::AuthFailed(_) | Fdo::InteractiveAuthorizationRequired(_) => {
                        CallError::Denied(text)
                    }
                    Fdo::Timeout(_) | Fdo::TimedOut(_) => CallError::Timeout,
                    Fdo::LimitsExceeded(_) | Fdo::NoMemory(_) => CallError::Limits(text),
                    Fdo::NoReply(_)
                    | Fdo::Disconnected(_)
                    | Fdo::NameHasNoOwner(_)
                    | Fdo::ServiceUnknown(_)
                    | Fdo::NoServer(_)
                    | Fdo::SpawnChildExited(_)
                    | Fdo::SpawnFailed(_) => CallError::Away(text),
                    other => CallError::Refused { name: other.name().as_str().into(), text },
                }
            }
            other => CallError::Unreadable(other.to_string().into()),
        }
    }
}

/// One call over any connection.
pub(super) async fn call(
    on: &Connection,
    path: &str,
    interface: &str,
    method: &str,
    body: &(impl Serialize + DynamicType),
) -> Result<zbus::Message, CallError> {
    Ok(on.call_method(Some(BUS), path, Some(interface), method, body).await?)
}

impl Systemd {
    /// The same over the control connection, when it is its turn.
    pub(super) async fn call(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        body: &(impl Serialize + DynamicType),
    ) -> Result<zbus::Message, CallError> {
        // The semaphore is never closed; if it were, a call more would be the least harm.
        let _turn = self.inner.in_flight.acquire().await.ok();
        call(&self.inner.control, path, interface, method, body).await
    }

    /// One call of the manager.
    pub(super) async fn manager<B, R>(&self, method: &str, body: &B) -> Result<R, CallError>
    where
        B: Serialize + DynamicType,
        R: DeserializeOwned + Type,
    {
        // What is no question may change any unit.
        if !["List", "Get"].iter().any(|question| method.starts_with(question)) {
            self.inner.readings.forget();
        }
        Ok(self.call(MANAGER_PATH, MANAGER, method, body).await?.body().deserialize()?)
    }

    /// One property.
    pub(super) async fn property<R>(&self, path: &str, interface: &str, name: &str) -> Result<R, CallError>
    where
        R: TryFrom<OwnedVariant, Error = zbus::Error>,
    {
        let reply = self.call(path, "org.freedesktop.DBus.Properties", "Get", &(interface, name)).await?;
        let value: OwnedVariant = reply.body().deserialize()?;
        Ok(R::try_from(value)?)
    }
}
