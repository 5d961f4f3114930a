//! Rows of units, many in one call: what is asked in one moment is one question to PID 1.

use std::mem;
use std::sync::{Mutex, PoisonError};

use hostward_core::id::UnitName;
use tokio::sync::oneshot;

use super::Systemd;
use super::call::CallError;
use super::unit::Row;

/// A row is about 200 bytes; while PID 1 makes them it does nothing else.
const ROWS_MAX: usize = 128;

type Listed = Result<Option<Row>, CallError>;

/// Those who wait for the next call.
#[derive(Debug, Default)]
pub(super) struct Listing {
    waiting: Mutex<Vec<(UnitName, oneshot::Sender<Listed>)>>,
}

impl Listing {
    /// True: it is the first, and the call is to be made.
    fn join(&self, name: &UnitName) -> (bool, oneshot::Receiver<Listed>) {
        let (tell, told) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push((name.clone(), tell));
        (waiting.len() == 1, told)
    }

    fn take(&self) -> Vec<(UnitName, oneshot::Sender<Listed>)> {
        mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Systemd {
    /// A unit's row, listed with those of all who ask meanwhile. None: systemd holds the name for impossible, or knows
    /// nothing of it.
    ///
    /// Cancel-safe: the call is a task's own.
    pub(super) async fn row(&self, name: &UnitName) -> Listed {
        let (first, told) = self.inner.listing.join(name);
        if first {
            let systemd = self.clone();
            // It comes after every question that is asked in this turn already.
            tokio::spawn(async move { systemd.list_waiting().await });
        }
        told.await.unwrap_or_else(|_| Err(CallError::Away("the link was dropped".into())))
    }

    async fn list_waiting(&self) {
        let mut waiting = self.inner.listing.take();
        while !waiting.is_empty() {
            let rest = waiting.split_off(waiting.len().min(ROWS_MAX));
            let names: Vec<&str> = waiting.iter().map(|(name, _)| name.as_str()).collect();
            let rows = self.list(&names).await;
            for (n, (name, tell)) in waiting.into_iter().enumerate() {
                let row = match &rows {
                    Ok(rows) => Ok(rows.get(n).cloned()),
                    // One name is enough to have all refused: each is told what is said of itself.
                    Err(CallError::Refused { .. }) => self.listed(&name).await,
                    Err(e) => Err(e.clone()),
                };
                // Who asked may have given up.
                let _ = tell.send(row);
            }
            waiting = rest;
        }
    }

    /// A row for each name, in their order. A name that systemd leaves out moves all that follow: then nothing is said.
    async fn list(&self, names: &[&str]) -> Result<Vec<Row>, CallError> {
        let rows = self.rows(names).await?;
        if rows.len() == names.len() {
            return Ok(rows);
        }
        let text = format!("{} rows of {} units", rows.len(), names.len());
        Err(CallError::Refused { name: "org.freedesktop.systemd1.Rows".into(), text: text.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_makes_the_call_for_all_and_the_next_begins_anew() {
        let listing = Listing::default();
        let (a, b) = (UnitName::new("a.service"), UnitName::new("b.service"));
        assert!(listing.join(&a).0 && !listing.join(&b).0);
        let names: Vec<UnitName> = listing.take().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, [a.clone(), b]);
        assert!(listing.join(&a).0);
    }
}
