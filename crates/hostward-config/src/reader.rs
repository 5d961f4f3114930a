//! The reader: takes keys out of a table, each with the kind of value that it expects.
//!
//! What is wrong is recorded with its place and reading goes on, so that one run finds everything. A key that was never
//! asked for is unknown: [`Reader::finish`] says so, and what was probably meant.

use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::finding::{Finding, Findings, Place, Said, did_you_mean, shown};
use crate::scalar::{self, Scalar};

pub(crate) type Node<'a> = Spanned<DeValue<'a>>;

/// Which file is read, and where its errors go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) file: usize,
    pub(crate) findings: &'a Findings,
}

impl Context<'_> {
    pub(crate) fn place(&self, span: Range<usize>) -> Place {
        Place { file: self.file, span }
    }
}

/// One table, being read.
#[derive(Debug)]
#[must_use = "unknown keys are only reported by finish"]
pub(crate) struct Reader<'a> {
    cx: Context<'a>,
    /// `service.api`; empty for the whole file.
    path: String,
    at: Place,
    table: &'a DeTable<'a>,
    asked: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    pub(crate) fn root(cx: Context<'a>, table: &'a DeTable<'a>) -> Self {
        Reader::new(cx, String::new(), cx.place(0..0), table)
    }

    fn new(cx: Context<'a>, path: String, at: Place, table: &'a DeTable<'a>) -> Self {
        Reader { cx, path, at, table, asked: Vec::new() }
    }

    /// Where its name stands.
    pub(crate) fn at(&self) -> &Place {
        &self.at
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub(crate) fn push(&self, at: &Place, finding: Finding) {
        self.cx.findings.push(at, finding);
    }

    /// The value of a key as it is.
    pub(crate) fn value(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.asked.push(key);
        let node = self.table.get(key)?;
        Some(Value { cx: self.cx, path: self.below(key), node })
    }

    pub(crate) fn get<T>(&mut self, key: &'static str, scalar: &Scalar<T>) -> Option<Said<T>> {
        self.value(key)?.scalar(scalar)
    }

    pub(crate) fn or<T>(&mut self, key: &'static str, scalar: &Scalar<T>, default: T) -> T {
        self.get(key, scalar).map_or(default, |said| said.value)
    }

    /// A key that must be there.
    pub(crate) fn need<T>(&mut self, key: &'static str, scalar: &Scalar<T>) -> Option<Said<T>> {
        if !self.has(key) {
            let missing = Finding::error(format!("[{}] has no `{key}`", self.path));
            self.push(&self.at, missing.help(format!("add {key} = {}", scalar.example)));
        }
        self.get(key, scalar)
    }

    pub(crate) fn integer(&mut self, key: &'static str, range: RangeInclusive<u32>) -> Option<u32> {
        self.value(key)?.integer(range)
    }

    pub(crate) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        let DeValue::Boolean(flag) = value.node() else {
            value.wrong("true or false", &format!("write {key} = true, without quotes"));
            return None;
        };
        Some(*flag)
    }

    pub(crate) fn list<T>(&mut self, key: &'static str, scalar: &Scalar<T>) -> Option<Vec<Said<T>>> {
        let items = self.value(key)?.items(scalar.expected)?;
        Some(items.into_iter().filter_map(|item| item.scalar(scalar)).collect())
    }

    pub(crate) fn table(&mut self, key: &'static str) -> Option<Reader<'a>> {
        self.asked.push(key);
        let (name, node) = self.table.get_key_value(key)?;
        self.open(self.below(key), name.span(), node)
    }

    /// A table that must be there, with `what` in it.
    pub(crate) fn need_table(&mut self, key: &'static str, what: &str) -> Option<Reader<'a>> {
        if !self.has(key) {
            let path = self.below(key);
            let missing = Finding::error(format!("[{}] has no [{path}]", self.path));
            self.push(&self.at, missing.help(format!("add [{path}] with {what}")));
        }
        self.table(key)
    }

    /// `[KEY.NAME]`: each table with its name.
    pub(crate) fn named(&mut self, key: &'static str) -> Vec<(Said<&'a str>, Reader<'a>)> {
        let Some(tables) = self.table(key) else { return Vec::new() };
        let mut named = Vec::new();
        for (name, node) in tables.table {
            let at = tables.cx.place(name.span());
            if let Err(complaint) = scalar::name(name.get_ref()) {
                tables.push(&at, complaint.into());
            } else if let Some(table) = tables.open(tables.below(name.get_ref()), name.span(), node) {
                named.push((Said { value: name.get_ref().as_ref(), at }, table));
            }
        }
        named
    }

    /// `[[KEY]]`
    pub(crate) fn tables(&mut self, key: &'static str, limit: usize) -> Vec<Reader<'a>> {
        let path = self.below(key);
        let Some(value) = self.value(key) else { return Vec::new() };
        let DeValue::Array(array) = value.node.get_ref() else {
            value.wrong("an array of tables", &format!("write [[{path}]]"));
            return Vec::new();
        };
        if array.is_empty() {
            value.complain(
                Finding::error(format!("`{key}` is empty")).help(format!("leave it out, or add [[{path}]]")),
            );
        }
        if array.len() > limit {
            let message = format!("{} are more than the limit of {limit} [[{path}]]", array.len());
            value.complain(Finding::error(message).help("split the watch"));
        }
        array.iter().take(limit).filter_map(|node| self.open(path.clone(), node.span(), node)).collect()
    }

    /// Every key with its value, for tables whose keys are the operator's.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Said<&'a str>, Value<'a>)> {
        self.table.iter().map(|(key, node)| {
            let said = Said { value: key.get_ref().as_ref(), at: self.cx.place(key.span()) };
            (said, Value { cx: self.cx, path: self.below(key.get_ref()), node })
        })
    }

    /// Texts of this table are secrets, or may be: none is shown, but for those of these keys.
    pub(crate) fn hide_texts(&self, shown: &[&str]) {
        for (key, value) in self.entries() {
            if !shown.contains(&key.value) {
                value.hide_texts();
            }
        }
    }

    /// Reports what nobody asked for.
    pub(crate) fn finish(self) {
        for key in self.table.keys().filter(|key| !self.asked.contains(&key.get_ref().as_ref())) {
            let place = if self.path.is_empty() { String::new() } else { format!(" in [{}]", self.path) };
            let name = key.get_ref();
            let help = did_you_mean(name, self.asked.iter().copied())
                .unwrap_or_else(|| format!("known are: {}", self.asked.join(", ")));
            let finding = Finding::error(format!("unknown key {}{place}", shown(name))).help(help);
            self.push(&self.cx.place(key.span()), finding);
        }
    }

    fn open(&self, path: String, name: Range<usize>, node: &'a Node<'a>) -> Option<Reader<'a>> {
        let DeValue::Table(table) = node.get_ref() else {
            let help = format!("write it as [{path}]");
            Value { cx: self.cx, path, node }.wrong("a table", &help);
            return None;
        };
        Some(Reader::new(self.cx, path, self.cx.place(name), table))
    }

    fn below(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// One value, being read.
#[derive(Clone, Debug)]
pub(crate) struct Value<'a> {
    cx: Context<'a>,
    path: String,
    node: &'a Node<'a>,
}

impl<'a> Value<'a> {
    pub(crate) fn node(&self) -> &'a DeValue<'a> {
        self.node.get_ref()
    }

    pub(crate) fn at(&self) -> Place {
        self.cx.place(self.node.span())
    }

    /// The members of an inline table; of anything else, none.
    pub(crate) fn entries(&self) -> Vec<(&'a str, Value<'a>)> {
        let DeValue::Table(table) = self.node() else { return Vec::new() };
        let member = |(key, node): (&'a Spanned<DeString<'a>>, &'a Node<'a>)| {
            let key = key.get_ref().as_ref();
            (key, Value { cx: self.cx, path: format!("{}.{key}", self.path), node })
        };
        table.iter().map(member).collect()
    }

    fn hide_texts(&self) {
        let below = |node: &'a Node<'a>| Value { cx: self.cx, path: String::new(), node };
        match self.node() {
            DeValue::String(_) => self.cx.findings.hide(Some(self.at())),
            DeValue::Array(array) => array.iter().for_each(|node| below(node).hide_texts()),
            DeValue::Table(table) => table.iter().for_each(|(_, node)| below(node).hide_texts()),
            _ => {}
        }
    }

    pub(crate) fn push(&self, at: &Place, finding: Finding) {
        self.cx.findings.push(at, finding);
    }

    pub(crate) fn complain(&self, finding: Finding) {
        self.cx.findings.push(&self.at(), finding);
    }

    pub(crate) fn wrong(&self, expected: &str, help: &str) {
        let found = article(self.node());
        self.complain(Finding::error(format!("`{}` must be {expected}, not {found}", self.key())).help(help));
    }

    pub(crate) fn scalar<T>(&self, scalar: &Scalar<T>) -> Option<Said<T>> {
        let DeValue::String(text) = self.node() else {
            let key = self.key();
            self.wrong(scalar.expected, &format!("for example {key} = {}", scalar.example));
            return None;
        };
        match (scalar.parse)(text) {
            Ok(value) => Some(Said { value, at: self.at() }),
            Err(complaint) => {
                self.complain(complaint.into());
                None
            }
        }
    }

    pub(crate) fn integer(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let (least, most) = (range.start(), range.end());
        let DeValue::Integer(said) = self.node() else {
            self.wrong("a number", &format!("write a whole number from {least} to {most}, without quotes"));
            return None;
        };
        match u32::from_str_radix(said.as_str(), said.radix()) {
            Ok(n) if range.contains(&n) => Some(n),
            _ => {
                let message = format!("`{}` is out of range: {}", self.key(), shown(&said.to_string()));
                self.complain(Finding::error(message).help(format!("from {least} to {most}")));
                None
            }
        }
    }

    /// A list that has something in it.
    pub(crate) fn items(&self, of: &str) -> Option<Vec<Value<'a>>> {
        let DeValue::Array(array) = self.node() else {
            self.wrong("a list", &format!("write [..] with {of} in it"));
            return None;
        };
        if array.is_empty() {
            let empty = Finding::error(format!("`{}` is empty", self.key()));
            self.complain(empty.help(format!("leave it out, or name {of}")));
        }
        Some(array.iter().map(|node| Value { cx: self.cx, path: self.path.clone(), node }).collect())
    }

    /// The last part of its path, which the operator sees on the line.
    fn key(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or(&self.path)
    }
}

fn article(node: &DeValue<'_>) -> &'static str {
    match node {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
