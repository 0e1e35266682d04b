//! Where the log goes: people, JSON, logfmt, or the journal of systemd.

use std::fmt;
use std::io::IsTerminal as _;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
    /// `key=value` pairs, as Prometheus writes them.
    Logfmt,
    /// systemd's journal, with fields.
    Journald,
}

impl Format {
    /// systemd's journal where systemd runs us, else for people.
    #[must_use]
    pub fn by_surroundings() -> Self {
        if std::env::var_os("JOURNAL_STREAM").is_some() { Self::Journald } else { Self::Human }
    }
}

/// Starts logging to standard error (or the journal).
///
/// # Errors
/// The level is none, or the journal can't be reached.
pub fn start(format: Format, level: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(level).map_err(|error| format!("{level:?} is no log level: {error}"))?;
    let registry = tracing_subscriber::registry().with(filter);
    let standard_error = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = match format {
        Format::Human => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            registry.with(standard_error.with_ansi(colour).with_target(false)).try_init()
        }
        Format::Json => registry.with(standard_error.json().flatten_event(true)).try_init(),
        Format::Logfmt => registry.with(standard_error.event_format(Logfmt)).try_init(),
        Format::Journald => {
            let journal =
                tracing_journald::layer().map_err(|error| format!("the journal can't be reached: {error}"))?;
            registry.with(journal).try_init()
        }
    };
    started.map_err(|error| format!("logging could not be started: {error}"))
}

/// `ts=… level=… msg=… key=value …`.
struct Logfmt;

impl<S, N> FormatEvent<S, N> for Logfmt
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = event.metadata().level().to_string().to_lowercase();
        write!(writer, "ts={} level={level}", crate::clock::now())?;
        let mut pairs = Pairs(String::new());
        event.record(&mut pairs);
        write!(writer, "{}", pairs.0)?;
        if let Some(span) = context.lookup_current() {
            write!(writer, " span={}", span.name())?;
        }
        writeln!(writer)
    }
}

struct Pairs(String);

impl Pairs {
    fn push(&mut self, name: &str, value: &str) {
        let name = if name == "message" { "msg" } else { name };
        let plain = !value.is_empty()
            && !value.contains(|each: char| each.is_whitespace() || each.is_control() || matches!(each, '"' | '='));
        let value = if plain { value.to_owned() } else { format!("{value:?}") };
        self.0.push_str(&format!(" {name}={value}"));
    }
}

impl Visit for Pairs {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field.name(), &format!("{value:?}"));
    }
}
