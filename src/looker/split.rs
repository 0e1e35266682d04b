//! Whose series is whose, in an answer that holds those of many services.
//!
//! Never looks into their samples.

use std::sync::Arc;

use rollbackd_core::name::ServiceName;
use rollbackd_core::reading::{Answer, Labels, Series};

use super::brought::{Again, Brought};

/// So many services at most are named in a query; of more, all are asked for and the others left out here.
pub(super) const MOST_NAMED: usize = 20;

/// Of which services the series are wanted, where one answer holds them all.
#[derive(Clone, Debug)]
pub(super) struct Only {
    label: String,
    services: Services,
}

/// Services in the order of their names, each once.
#[derive(Clone, Debug)]
struct Services(Arc<[ServiceName]>);

impl Services {
    /// The place of a service. Prometheus gives the series of a range in the order of their labels, and they are looked
    /// at in the order of their names, so that it mostly is `last` or the one after it.
    fn place(&self, name: &str, last: usize) -> Option<usize> {
        let is_at = |place: &usize| self.0.get(*place).is_some_and(|service| service.as_str() == name);
        let near = [last, last + 1].into_iter().find(is_at);
        near.or_else(|| self.0.binary_search_by(|service| service.as_str().cmp(name)).ok())
    }
}

impl Only {
    /// These services, by the values of this label.
    pub(super) fn of<'a>(label: &str, services: impl IntoIterator<Item = &'a ServiceName>) -> Self {
        let mut services: Vec<ServiceName> = services.into_iter().cloned().collect();
        services.sort();
        services.dedup();
        Self { label: label.to_owned(), services: Services(services.into()) }
    }

    /// How many they are.
    pub(super) fn count(&self) -> usize {
        self.services.0.len()
    }

    fn is_narrow(&self) -> bool {
        self.count() <= MOST_NAMED
    }

    /// Of how many services an answer holds series, in a fleet of so many: a query that is not narrowed brings all.
    pub(super) fn answered(&self, fleet: usize) -> usize {
        if self.is_narrow() { self.count() } else { fleet.max(self.count()) }
    }

    /// The query with nothing but these services' series in its answer, where they are few. `and` changes no value and
    /// no label of what it lets through.
    pub(super) fn narrow(&self, query: &str) -> String {
        if !self.is_narrow() {
            return query.to_owned();
        }
        let label = &self.label;
        // A name has letters, digits, dots, dashes and underscores: nothing that a string or a replacement minds.
        let named = |name: &ServiceName| format!("label_replace(vector(1), \"{label}\", \"{name}\", \"\", \"\")");
        let named: Vec<String> = self.services.0.iter().map(named).collect();
        // On lines of its own: it may end with a comment.
        format!("(\n{query}\n) and on ({label}) ({})", named.join(" or "))
    }

    pub(super) fn wants(&self, series: &Series) -> bool {
        series.labels.get(self.label.as_str()).is_some_and(|name| self.services.place(name, 0).is_some())
    }

    /// The series by service, without the label that told them apart.
    pub(super) fn split(&self, all: Vec<Series>) -> Parts {
        let mut parts: Vec<Vec<Series>> = vec![Vec::new(); self.count()];
        let mut last = 0;
        for mut series in all {
            let name = series.labels.remove(self.label.as_str());
            if series.labels.is_empty() {
                // What is empty has the room of what it held.
                series.labels = Labels::default();
            }
            let Some(place) = name.and_then(|name| self.services.place(&name, last)) else { continue };
            if let Some(part) = parts.get_mut(place) {
                // Most have one.
                part.reserve_exact(1);
                part.push(series);
            }
            last = place;
        }
        Parts { services: self.services.clone(), parts, last: 0 }
    }
}

/// Each service's own series.
pub(super) struct Parts {
    services: Services,
    parts: Vec<Vec<Series>>,
    last: usize,
}

impl Parts {
    /// Those of a service; none where there are none, or where they were taken for good.
    pub(super) fn part(&mut self, service: &ServiceName, again: Again) -> Vec<Series> {
        let Some(place) = self.services.place(service.as_str(), self.last) else { return Vec::new() };
        self.last = place;
        let Some(part) = self.parts.get_mut(place) else { return Vec::new() };
        if again == Again::Yes { part.clone() } else { std::mem::take(part) }
    }
}

/// The part of each of these services of an answer that they share, by itself.
pub(crate) fn told_apart(label: &str, services: &[ServiceName], answer: Vec<Series>) -> Vec<Answer> {
    let mut brought = Brought::Split(Only::of(label, services).split(answer));
    services.iter().map(|service| brought.part(service, Again::No)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ServiceName {
        ServiceName::new(text).unwrap()
    }

    /// A series whose only sample is its number.
    fn series(number: i64, labels: &[(&str, &str)]) -> Series {
        let at = rollbackd_core::time::Timestamp::from_milliseconds(number);
        let labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Series { labels: Labels::from_iter(labels), samples: vec![(at, 1.0)] }
    }

    /// The numbers of a part's series, and the labels that are left to them.
    fn shown(part: &[Series]) -> Vec<(i64, usize)> {
        part.iter().map(|series| (series.samples[0].0.milliseconds(), series.labels.len())).collect()
    }

    #[test]
    fn a_query_is_narrowed_to_services_whatever_it_ends_with() {
        let only = Only::of("service", &[name("a"), name("b")]);
        for query in ["sum by (service) (x)", "sum by (service) (x) # of all", "x or y"] {
            let narrowed = only.narrow(query);
            let selectors = crate::promql::read(&narrowed).map(|facts| facts.selectors);
            assert_eq!(selectors, crate::promql::read(query).map(|facts| facts.selectors), "{narrowed}");
        }
    }

    #[test]
    fn an_answer_holds_the_whole_fleet_where_its_query_is_not_narrowed() {
        let answered = |wanted: usize| {
            let names: Vec<ServiceName> = (0..wanted).map(|number| name(&format!("s{number}"))).collect();
            Only::of("service", &names).answered(10_000)
        };
        assert_eq!([1, 20, 21, 10_000, 10_001].map(answered), [1, 20, 10_000, 10_000, 10_001]);
    }

    #[test]
    fn each_service_gets_its_own_series_in_whatever_order_they_come() {
        let only = Only::of("service", &[name("b"), name("c"), name("a"), name("b")]);
        assert_eq!(only.count(), 3);
        let pod = |number, service, pod| series(number, &[("service", service), ("pod", pod)]);
        let in_order = vec![pod(1, "a", "x"), pod(2, "a", "y"), pod(3, "c", "x"), pod(4, "unknown", "x")];
        let any_order = vec![pod(3, "c", "x"), pod(1, "a", "x"), series(4, &[("pod", "x")]), pod(2, "a", "y")];
        for all in [in_order, any_order] {
            assert!(all.iter().filter(|series| only.wants(series)).count() == 3);
            for wanted in [["a", "b", "c"], ["c", "a", "b"]] {
                let mut parts = only.split(all.clone());
                for service in wanted {
                    let expected: &[(i64, usize)] = match service {
                        "a" => &[(1, 1), (2, 1)],
                        "c" => &[(3, 1)],
                        _ => &[],
                    };
                    assert_eq!(shown(&parts.part(&name(service), Again::Yes)), expected, "{service}");
                    assert_eq!(shown(&parts.part(&name(service), Again::No)), expected, "{service}");
                    assert!(parts.part(&name(service), Again::No).is_empty(), "taken for good");
                }
                assert!(parts.part(&name("unknown"), Again::Yes).is_empty());
            }
        }
    }
}
