//! A configuration in the making: what the files declare, with every place that a later check may have to point at.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hostward_core::id::{AppName, Str, UnitName, WatchId};
use hostward_core::notify::Pattern;
use hostward_core::policy::{App, Host, Mode, Policy, Watch};
use toml::de::DeTable;

use crate::finding::{Finding, Findings, Place, Said};
use crate::notify::{self, Notify};
use crate::reader::{Context, Reader};
use crate::{Export, baseline, cross, host, job, service, storage};

/// Everything that was declared. A watch that could not be read is there by name, so that nothing that mentions it is
/// called wrong as well.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) host: Option<Said<Host>>,
    pub(crate) budget_at: Option<Place>,
    pub(crate) record: Option<u64>,
    pub(crate) export: Option<Said<Export>>,
    pub(crate) apps: BTreeMap<AppName, Said<App>>,
    pub(crate) watches: BTreeMap<WatchId, Said<Option<Watch>>>,
    pub(crate) mentions: Vec<(WatchId, Said<Mention>)>,
    pub(crate) claims: Vec<(WatchId, Said<Claim>)>,
    pub(crate) notify: Notify,
    pub(crate) notify_at: BTreeMap<Str, Place>,
    pub(crate) filters: Vec<Said<Pattern>>,
    /// A file has syntax errors: what it declares is not fully known.
    pub(crate) torn: bool,
}

/// What a watch refers to; it must exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mention {
    App(AppName),
    /// A rung of a ladder.
    Reconcile(WatchId),
    /// `then.prove`
    Prove(WatchId),
    Needs(WatchId),
    /// Whose fault a component's state is.
    Cause(WatchId),
    /// Not above the host's.
    Mode(Mode),
}

/// What only one watch may have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Claim {
    Unit(UnitName),
    Venv(PathBuf),
    Path(PathBuf),
    /// A unit that keeps a mount.
    Base(UnitName),
    Compat(Str),
}

impl Draft {
    /// Reads one file. One that is no TOML is reported and not looked into: what follows a missing quote means nothing.
    pub(crate) fn read(&mut self, file: usize, text: &str, findings: &Findings) {
        let cx = Context { file, findings };
        let (tree, faults) = DeTable::parse_recoverable(text);
        let mut last = None;
        for fault in &faults {
            let at = cx.place(fault.span().unwrap_or(text.len()..text.len()));
            // The parser may stumble several times over one byte: the first time says it.
            if last.replace(at.span.start) != Some(at.span.start) {
                findings.hide(notify::unread(text, at.span.start).map(|span| cx.place(span)));
                findings.push(&at, syntax(fault.message()));
            }
        }
        if faults.is_empty() {
            self.declare(Reader::root(cx, tree.get_ref()));
        } else {
            self.torn = true;
        }
    }

    fn declare(&mut self, mut file: Reader<'_>) {
        if let Some(table) = file.table("host") {
            let at = table.at().clone();
            once(&table, self.host.as_ref().map(|said| &said.at));
            let (value, budget_at, record) = host::host(table);
            self.host.get_or_insert(Said { value, at });
            self.budget_at.get_or_insert(budget_at);
            self.record = self.record.or(record);
        }
        if let Some(table) = file.table("metrics") {
            let at = table.at().clone();
            once(&table, self.export.as_ref().map(|said| &said.at));
            let value = host::metrics(table);
            self.export.get_or_insert(Said { value, at });
        }
        for (name, table) in file.named("app") {
            let id = AppName::new(name.value);
            once(&table, self.apps.get(&id).map(|said| &said.at));
            let value = host::app(table);
            self.apps.entry(id).or_insert(Said { value, at: name.at });
        }
        self.watches("service", &mut file, service::read);
        self.watches("baseline", &mut file, baseline::read);
        self.watches("storage", &mut file, storage::read);
        self.watches("job", &mut file, job::read);
        notify::read(&mut file, self);
        file.finish();
    }

    fn watches(&mut self, kind: &'static str, file: &mut Reader<'_>, read: ReadKind) {
        for (name, table) in file.named(kind) {
            let id = WatchId::new(format!("{kind}.{}", name.value));
            if !once(&table, self.watches.get(&id).map(|said| &said.at)) {
                // Its claims and mentions are the first one's.
                continue;
            }
            let value = read(table, &id, self);
            self.watches.insert(id, Said { value, at: name.at });
        }
    }

    pub(crate) fn mention(&mut self, by: &WatchId, what: Mention, at: &Place) {
        self.mentions.push((by.clone(), Said { value: what, at: at.clone() }));
    }

    pub(crate) fn claim(&mut self, by: &WatchId, what: Claim, at: &Place) {
        self.claims.push((by.clone(), Said { value: what, at: at.clone() }));
    }

    /// The checks across files, then the policy: whole only when nothing was found.
    pub(crate) fn finish(self, findings: &Findings) -> (Policy, Export) {
        cross::check(&self, findings);
        let apps: BTreeMap<AppName, App> = self.apps.into_iter().map(|(name, said)| (name, said.value)).collect();
        let with_tree = |(id, said): (WatchId, Said<Option<Watch>>)| {
            let mut watch = said.value?;
            baseline::inherit_tree(&mut watch, &apps);
            Some((id, watch))
        };
        let watches = self.watches.into_iter().filter_map(with_tree).collect();
        let export = self.export.map(|said| said.value).unwrap_or_default();
        let export = Export { record: self.record, notify: self.notify, ..export };
        let mut host = self.host.map(|said| said.value).unwrap_or_default();
        host.textfile.clone_from(&export.textfile);
        (Policy { host, apps, watches }, export)
    }
}

type ReadKind = fn(Reader<'_>, &WatchId, &mut Draft) -> Option<Watch>;

fn syntax(message: &str) -> Finding {
    let finding = Finding::error(message);
    match message {
        "duplicate key" => finding.help("it is already set in this file: keep one of them"),
        _ if message.starts_with("string values must be quoted") => finding.help("write \"..\" around it"),
        _ => finding,
    }
}

/// A table that two files may not both declare. True: it is the first.
pub(crate) fn once(table: &Reader<'_>, first: Option<&Place>) -> bool {
    let Some(first) = first else { return true };
    let finding = Finding::error(format!("[{}] is declared twice", table.path()));
    table.push(table.at(), finding.also(first, "first declared here").help("keep one of them"));
    false
}
