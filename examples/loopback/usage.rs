//! What the system says of a process, and what its `/metrics` say.

use std::collections::BTreeMap;

/// `/proc` of a process, read at one instant.
pub(crate) struct Usage {
    id: u32,
    stat: String,
    status: String,
}

impl Usage {
    /// Of the process with this id.
    pub(crate) fn of(id: u32) -> Result<Self, String> {
        let read = |file: &str| {
            let file = format!("/proc/{id}/{file}");
            std::fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))
        };
        Ok(Self { id, stat: read("stat")?, status: read("status")? })
    }

    /// User and system time, in seconds: Linux counts a hundred ticks in each on every machine that this runs on.
    pub(crate) fn processor_seconds(&self) -> Result<f64, String> {
        // The name is in parentheses and may hold spaces; what follows it does not.
        let after_name = self.stat.rsplit(')').next().unwrap_or_default();
        let field = |place: usize| after_name.split_whitespace().nth(place).and_then(|ticks| ticks.parse::<f64>().ok());
        match (field(11), field(12)) {
            (Some(user), Some(system)) => Ok((user + system) / 100.0),
            _ => Err(format!("/proc/{}/stat can't be read: {}", self.id, self.stat)),
        }
    }

    /// A number of its status; what is memory is in KiB there.
    pub(crate) fn status(&self, field: &str) -> Result<f64, String> {
        let line = self.status.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next());
        let number = number.and_then(|number| number.parse().ok());
        number.ok_or_else(|| format!("/proc/{}/status has no {field}", self.id))
    }
}

/// `/metrics`, read: for each name its series, by their labels.
pub(crate) struct Metrics(BTreeMap<String, Vec<(String, f64)>>);

impl Metrics {
    /// Reads the text.
    pub(crate) fn parse(text: &str) -> Self {
        let mut all: BTreeMap<String, Vec<(String, f64)>> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let value = value.parse().ok().map(|value: f64| (labels.to_owned(), value));
            all.entry(name.to_owned()).or_default().extend(value);
        }
        Self(all)
    }

    /// The series of this name: their labels, and their values.
    pub(crate) fn series(&self, name: &str) -> &[(String, f64)] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// The sum over the series of this name that have this label; a counter without series has counted nothing.
    pub(crate) fn sum(&self, name: &str, label: &str) -> f64 {
        let series = self.series(name).iter().filter(|(labels, _)| labels.contains(label));
        series.fold(0.0, |sum, (_, value)| sum + value)
    }
}
