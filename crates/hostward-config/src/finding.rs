//! What is wrong, and where: collected while the files are walked, then placed by line and column, then rendered.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use crate::source::Source;

/// A configuration that must not be used, and every reason why.
#[derive(Clone, Debug, Serialize)]
pub struct Rejected {
    pub errors: Vec<ConfigError>,
}

/// One thing that is wrong (or, among warnings, doubtful).
#[derive(Clone, Debug, Serialize)]
pub struct ConfigError {
    pub file: PathBuf,
    /// From 1; 0: the file as a whole.
    pub line: usize,
    /// From 1, in characters; 0: the file as a whole.
    pub column: usize,
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// The other place, when two contradict each other.
    pub related: Option<Related>,
    #[serde(skip)]
    severity: Severity,
    #[serde(skip)]
    excerpt: Option<Excerpt>,
}

/// The other place that an error is about.
#[derive(Clone, Debug, Serialize)]
pub struct Related {
    pub file: PathBuf,
    pub line: usize,
    pub column: usize,
    pub message: String,
    #[serde(skip)]
    excerpt: Excerpt,
}

/// The line that an error is on, and which part of it.
#[derive(Clone, Debug)]
struct Excerpt {
    line: Arc<str>,
    span: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Error,
    Warning,
}

impl Rejected {
    /// As rustc prints them: the place, the line, what is wrong with it, and help.
    pub fn render(&self, colour: bool) -> String {
        render(&self.errors, colour)
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errors.as_slice() {
            [one] => write!(f, "the configuration has an error: {one}"),
            [first, ..] => write!(f, "the configuration has {} errors, the first: {first}", self.errors.len()),
            [] => f.write_str("the configuration was rejected"),
        }
    }
}

impl std::error::Error for Rejected {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match self.line {
            0 => write!(f, "{file}: {}", self.message),
            line => write!(f, "{file}:{line}:{}: {}", self.column, self.message),
        }
    }
}

pub(crate) fn render(errors: &[ConfigError], colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    errors.iter().map(|error| renderer.render(&[group(error)]) + "\n").collect::<Vec<_>>().join("\n")
}

fn group(error: &ConfigError) -> Group<'_> {
    let level = match error.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(error.message.as_str());
    let mut group = match &error.excerpt {
        Some(excerpt) => title.element(
            snippet(&error.file, error.line, excerpt)
                .annotation(AnnotationKind::Primary.span(excerpt.span.clone()).highlight_source(true)),
        ),
        None => title.element(origin(error)),
    };
    if let Some(related) = &error.related {
        let span = related.excerpt.span.clone();
        group = group.element(
            snippet(&related.file, related.line, &related.excerpt)
                .annotation(AnnotationKind::Context.span(span).label(related.message.as_str())),
        );
    }
    match &error.help {
        Some(help) => group.element(Level::HELP.message(help.as_str())),
        None => group,
    }
}

fn origin(error: &ConfigError) -> Origin<'_> {
    let origin = Origin::path(error.file.to_string_lossy());
    match error.line {
        0 => origin,
        line => origin.line(line).char_column(error.column),
    }
}

fn snippet<'a, T: Clone>(file: &'a Path, line: usize, excerpt: &'a Excerpt) -> Snippet<'a, T> {
    Snippet::source(&*excerpt.line).line_start(line).path(file.to_string_lossy())
}

/// A stretch of bytes of the n-th file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: usize,
    pub(crate) span: Range<usize>,
}

/// A value and where it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said<T> {
    pub(crate) value: T,
    pub(crate) at: Place,
}

/// Something wrong, not yet placed.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    severity: Severity,
    message: String,
    help: Option<String>,
    related: Option<(Place, String)>,
}

impl Finding {
    pub(crate) fn error(message: impl Into<String>) -> Self {
        Finding { severity: Severity::Error, message: message.into(), help: None, related: None }
    }

    pub(crate) fn warning(message: impl Into<String>) -> Self {
        Finding { severity: Severity::Warning, ..Finding::error(message) }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Finding { help: Some(help.into()), ..self }
    }

    pub(crate) fn also(self, at: &Place, message: impl Into<String>) -> Self {
        Finding { related: Some((at.clone(), message.into())), ..self }
    }
}

/// The first error tells more than the thousandth.
const FINDINGS_LIMIT: usize = 100;

/// Everything found so far. Shared by all readers, which hold no other state in common.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// About files that are not among the sources.
    files: Vec<ConfigError>,
    placed: RefCell<Vec<(Place, Finding)>>,
    /// Shown nowhere, whatever is wrong beside it.
    hidden: RefCell<Vec<Place>>,
}

impl Findings {
    pub(crate) fn push(&self, at: &Place, finding: Finding) {
        self.placed.borrow_mut().push((at.clone(), finding));
    }

    /// A secret stands here.
    pub(crate) fn hide(&self, at: Option<Place>) {
        self.hidden.borrow_mut().extend(at);
    }

    /// More would not be shown.
    pub(crate) fn is_full(&self) -> bool {
        let errors =
            |placed: &[(Place, Finding)]| placed.iter().filter(|(_, f)| f.severity == Severity::Error).count();
        errors(&self.placed.borrow()) >= FINDINGS_LIMIT
    }

    /// About a file as a whole.
    pub(crate) fn file(&mut self, file: &Path, message: String, help: Option<String>) {
        let (file, related, excerpt) = (file.to_owned(), None, None);
        let severity = Severity::Error;
        self.files.push(ConfigError { file, line: 0, column: 0, message, help, related, severity, excerpt });
    }

    /// About one byte of a file that will not be among the sources.
    pub(crate) fn at_offset(&mut self, source: &Source, offset: usize, finding: Finding) {
        let place = Place { file: 0, span: offset..offset + 1 };
        self.files.push(resolve(std::slice::from_ref(source), &[], &place, finding));
    }

    /// Errors and warnings, in the order of the files.
    pub(crate) fn resolve(&self, sources: &[Source]) -> (Vec<ConfigError>, Vec<ConfigError>) {
        let mut placed = self.placed.borrow().clone();
        let hidden = self.hidden.borrow();
        placed.sort_by_key(|(at, _)| (at.file, at.span.start));
        let (errors, warnings): (Vec<_>, Vec<_>) =
            placed.into_iter().partition(|(_, finding)| finding.severity == Severity::Error);
        let resolve = |found: Vec<(Place, Finding)>| {
            found.into_iter().take(FINDINGS_LIMIT).map(|(at, finding)| resolve(sources, &hidden, &at, finding))
        };
        (self.files.iter().cloned().chain(resolve(errors)).collect(), resolve(warnings).collect())
    }
}

fn resolve(sources: &[Source], hidden: &[Place], at: &Place, finding: Finding) -> ConfigError {
    let (file, line, column, excerpt) = locate(sources, hidden, at);
    let related = finding.related.map(|(at, message)| {
        let (file, line, column, excerpt) = locate(sources, hidden, &at);
        Related { file, line, column, message, excerpt }
    });
    let Finding { severity, message, help, .. } = finding;
    ConfigError { file, line, column, message, help, related, severity, excerpt: Some(excerpt) }
}

/// Longer lines are cut around the error.
const EXCERPT_LIMIT: usize = 240;

fn locate(sources: &[Source], hidden: &[Place], at: &Place) -> (PathBuf, usize, usize, Excerpt) {
    let (file, text) = sources.get(at.file).map_or((PathBuf::new(), ""), |s| (s.path.clone(), &*s.text));
    // The parser's spans are trusted no further than this: they come from files that are broken.
    let offset = floor(text, at.span.start);
    let begin = text[..offset].rfind('\n').map_or(0, |n| n + 1);
    let end = text[offset..].find('\n').map_or(text.len(), |n| offset + n);
    let line = text[..begin].matches('\n').count() + 1;
    let column = text[begin..offset].chars().count() + 1;
    let end = if text[begin..end].ends_with('\r') { (end - 1).max(offset) } else { end };
    let (mut begin, mut end) = (begin, end);
    if end - begin > EXCERPT_LIMIT {
        begin = floor(text, offset.saturating_sub(EXCERPT_LIMIT / 4)).max(begin);
        end = floor(text, offset + EXCERPT_LIMIT).min(end);
    }
    // Beyond its first line a span says nothing more.
    let stop = floor(text, at.span.end).clamp(offset, end);
    let covered = |n: usize| hidden.iter().any(|place| place.file == at.file && place.span.contains(&n));
    let masked = |(n, c): (usize, char)| if covered(begin + n) { "*".repeat(c.len_utf8()) } else { c.to_string() };
    let line_text: String = text[begin..end].char_indices().map(masked).collect();
    let excerpt = Excerpt { line: line_text.into(), span: offset - begin..stop - begin };
    (file, line, column, excerpt)
}

/// The nearest character boundary at or below `offset`.
fn floor(text: &str, offset: usize) -> usize {
    let offset = offset.min(text.len());
    (0..=offset).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0)
}

/// A name from a file, safe to print: control characters escaped, and not too long.
pub(crate) fn shown(name: &str) -> String {
    let mut shown = String::from("`");
    for c in name.chars().take(80) {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown.push_str(if name.chars().nth(80).is_some() { "...`" } else { "`" });
    shown
}

/// `did you mean X?` for the nearest of `known`, when one is near.
pub(crate) fn did_you_mean<'k>(said: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    nearest(said, known).map(|known| format!("did you mean {}?", shown(known)))
}

fn nearest<'k>(said: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if said.len() > 256 {
        return None;
    }
    let near = |known: &str| {
        let allowed = (known.chars().count().max(said.chars().count()) / 3).max(1);
        let distance = strsim::damerau_levenshtein(said, known);
        (distance <= allowed).then_some(distance)
    };
    known.into_iter().filter_map(|known| Some((near(known)?, known))).min().map(|(_, known)| known)
}
