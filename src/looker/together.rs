//! All queries of a trigger as one, and its answer taken apart again: one request, evaluated on one state of the data.
//!
//! Never looks into the samples.

use rollbackd_core::reading::Series;

/// The label that tells the series of the other queries from those of the value, which don't have it.
const LABEL: &str = "rollbackd_query";

/// Something for each query of a trigger.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Each<T> {
    pub(super) value: T,
    pub(super) total: Option<T>,
    pub(super) at_least: Option<T>,
    pub(super) presence: Option<T>,
    pub(super) freshness: Option<T>,
}

impl<T> Each<T> {
    /// The value's alone.
    pub(super) const fn alone(value: T) -> Self {
        Self { value, total: None, at_least: None, presence: None, freshness: None }
    }

    pub(super) fn map<U>(self, mut of: impl FnMut(T) -> U) -> Each<U> {
        Each {
            value: of(self.value),
            total: self.total.map(&mut of),
            at_least: self.at_least.map(&mut of),
            presence: self.presence.map(&mut of),
            freshness: self.freshness.map(&mut of),
        }
    }

    /// The same where each may fail: the first that does is the answer.
    pub(super) fn try_map<U, E>(self, mut of: impl FnMut(T) -> Result<U, E>) -> Result<Each<U>, E> {
        Ok(Each {
            value: of(self.value)?,
            total: self.total.map(&mut of).transpose()?,
            at_least: self.at_least.map(&mut of).transpose()?,
            presence: self.presence.map(&mut of).transpose()?,
            freshness: self.freshness.map(&mut of).transpose()?,
        })
    }

    pub(super) const fn as_mut(&mut self) -> Each<&mut T> {
        Each {
            value: &mut self.value,
            total: self.total.as_mut(),
            at_least: self.at_least.as_mut(),
            presence: self.presence.as_mut(),
            freshness: self.freshness.as_mut(),
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        1 + self.besides().count()
    }

    /// Those besides the value's that there are, by the names that they have in an answer.
    fn besides(&self) -> impl Iterator<Item = (&'static str, &T)> {
        let all = [
            ("total", &self.total),
            ("at_least", &self.at_least),
            ("presence", &self.presence),
            ("freshness", &self.freshness),
        ];
        all.into_iter().filter_map(|(name, query)| query.as_ref().map(|query| (name, query)))
    }

    /// The one of this name.
    fn named(&mut self, name: &str) -> Option<&mut T> {
        match name {
            "total" => self.total.as_mut(),
            "at_least" => self.at_least.as_mut(),
            "presence" => self.presence.as_mut(),
            "freshness" => self.freshness.as_mut(),
            _ => None,
        }
    }
}

/// These queries as one. The value's stands last: where a server reads one after the other (Prometheus reads all at one
/// state of its data), and a scrape lands in between, failures may be there without their `total`, and never a `total`
/// without its failures, which would look like health.
pub(super) fn together(queries: &Each<String>) -> String {
    // Each ends on a line of its own: it may end with a comment.
    let mark =
        |(name, query): (&str, &String)| format!("label_replace((\n{query}\n), \"{LABEL}\", \"{name}\", \"\", \"\")");
    let marked: Vec<String> = queries.besides().map(mark).collect();
    if marked.is_empty() {
        return queries.value.clone();
    }
    format!("{} or (\n{}\n)", marked.join(" or "), queries.value)
}

/// The series of each of the queries that were asked, without the label that told them apart.
pub(super) fn apart(asked: &Each<()>, all: Vec<Series>) -> Each<Vec<Series>> {
    if asked.besides().next().is_none() {
        return Each::alone(all);
    }
    let mut each = asked.clone().map(|()| Vec::new());
    for mut series in all {
        let name = series.labels.get(LABEL).cloned();
        match name.and_then(|name| each.named(&name)) {
            Some(own) => {
                series.labels.remove(LABEL);
                own.push(series);
            }
            None => each.value.push(series),
        }
    }
    each
}

#[cfg(test)]
mod tests {
    use rollbackd_core::reading::Labels;

    use super::*;

    fn series(labels: &[(&str, &str)]) -> Series {
        let labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Series { labels: Labels::from_iter(labels), samples: Vec::new() }
    }

    #[test]
    fn what_is_asked_together_is_one_query_that_parses_whatever_the_queries_end_with() {
        let query = |text: &str| text.to_owned();
        let mut queries = Each::alone(query("sum(bad) # all that failed"));
        assert_eq!(together(&queries), queries.value, "one query is asked as it is");
        queries.total = Some(query("sum(total) # all"));
        queries.at_least = Some(query("sum(increase(total[1m]))\n"));
        queries.freshness = Some(query("max(timestamp(a) or timestamp(b))"));
        let text = together(&queries);
        let facts = crate::promql::read(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(facts.selectors, ["total", "a", "b", "bad"], "{text}");
    }

    #[test]
    fn each_query_gets_its_own_series_back_as_if_it_had_been_asked_alone() {
        let asked = Each { value: (), total: Some(()), at_least: Some(()), presence: None, freshness: Some(()) };
        let all = vec![
            series(&[("pod", "a"), (LABEL, "total")]),
            series(&[("pod", "a")]),
            series(&[(LABEL, "freshness")]),
            series(&[("pod", "b"), (LABEL, "total")]),
            series(&[(LABEL, "presence")]),
        ];
        let each = apart(&asked, all);
        let expected = Each {
            // What nobody asked for keeps the label that it came with.
            value: vec![series(&[("pod", "a")]), series(&[(LABEL, "presence")])],
            total: Some(vec![series(&[("pod", "a")]), series(&[("pod", "b")])]),
            at_least: Some(Vec::new()),
            presence: None,
            freshness: Some(vec![series(&[])]),
        };
        assert_eq!(each, expected);
        let alone = vec![series(&[(LABEL, "total")])];
        assert_eq!(apart(&Each::default(), alone.clone()), Each::alone(alone));
    }
}
