//! What is known of each service, by its name.
//!
//! Never gone through in another order than that of the names: no decision depends on when a service came to be known.

use std::ops::Deref;

use foldhash::fast::FixedState;
use indexmap::IndexMap;
use indexmap::map::{Entry, Iter};
use serde::{Deserialize, Deserializer, Serialize};

use crate::name::ServiceName;

/// A map that finds one of ten thousand services at once: each look asks several times. Reads as any map does; a service
/// that is new costs as much as there are others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ByService<T>(IndexMap<ServiceName, T, FixedState>);

impl<T> ByService<T> {
    /// What is known of a service, to be changed.
    pub fn get_mut(&mut self, service: &str) -> Option<&mut T> {
        self.0.get_mut(service)
    }

    /// What is known of all services, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.values_mut()
    }

    /// What is known of a service from now on. Gives what was before.
    pub fn insert(&mut self, service: ServiceName, known: T) -> Option<T> {
        self.0.insert_sorted(service, known).1
    }

    /// What is known of a service; nothing yet, where it is new.
    pub fn or_default(&mut self, service: &ServiceName) -> &mut T
    where
        T: Default,
    {
        match self.0.entry(service.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert_sorted(T::default()).1,
        }
    }

    /// Forgets a service. Gives what was known of it.
    pub fn remove(&mut self, service: &str) -> Option<T> {
        self.0.shift_remove(service)
    }

    /// Forgets the services that this is not true of.
    pub fn retain(&mut self, stays: impl FnMut(&ServiceName, &mut T) -> bool) {
        self.0.retain(stays);
    }

    fn sorted(mut known: IndexMap<ServiceName, T, FixedState>) -> Self {
        known.sort_unstable_keys();
        Self(known)
    }
}

impl<T> Deref for ByService<T> {
    type Target = IndexMap<ServiceName, T, FixedState>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T> Default for ByService<T> {
    fn default() -> Self {
        Self(IndexMap::default())
    }
}

impl<T> FromIterator<(ServiceName, T)> for ByService<T> {
    fn from_iter<I: IntoIterator<Item = (ServiceName, T)>>(known: I) -> Self {
        Self::sorted(known.into_iter().collect())
    }
}

impl<'a, T> IntoIterator for &'a ByService<T> {
    type Item = (&'a ServiceName, &'a T);
    type IntoIter = Iter<'a, ServiceName, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ByService<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IndexMap::deserialize(deserializer).map(Self::sorted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ServiceName {
        ServiceName::new(text).unwrap()
    }

    fn names(known: &ByService<u8>) -> String {
        known.keys().map(ServiceName::as_str).collect()
    }

    #[test]
    fn however_services_come_to_be_known_they_are_gone_through_in_the_order_of_their_names() {
        let mut known: ByService<u8> =
            [("d", 4), ("b", 2)].into_iter().map(|(each, value)| (name(each), value)).collect();
        assert_eq!((known.insert(name("c"), 3), known.insert(name("b"), 7)), (None, Some(2)));
        *known.or_default(&name("a")) += 1;
        *known.or_default(&name("d")) += 1;
        assert_eq!(names(&known), "abcd");
        let all: Vec<u8> = (&known).into_iter().map(|(_, value)| *value).collect();
        assert_eq!(all, [1, 7, 3, 5]);
        known.values_mut().for_each(|value| *value += 1);
        known.values_mut().for_each(|value| *value -= 1);
        assert_eq!(known.values_mut().map(|value| *value).collect::<Vec<_>>(), all);
        assert_eq!((known.remove("b"), known.remove("b")), (Some(7), None));
        assert_eq!(names(&known), "acd");
        known.retain(|_, value| *value > 1);
        assert_eq!((names(&known), known.get("c")), ("cd".to_owned(), Some(&3)));
    }

    #[test]
    fn what_was_written_is_read_in_the_order_of_names_whatever_wrote_it() {
        let known: ByService<u8> = serde_json::from_str(r#"{"b":2,"a":1}"#).unwrap();
        assert_eq!(serde_json::to_string(&known).unwrap(), r#"{"a":1,"b":2}"#);
        assert_eq!(serde_json::from_str::<ByService<u8>>("{}").unwrap(), ByService::default());
    }
}
