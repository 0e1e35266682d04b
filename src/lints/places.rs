//! Where in the file each key of a trigger stands: what is known only once the config is read whole still has its place.
//!
//! Never reads a value, and never notes a mistake: the config has been read already.

use std::collections::BTreeMap;

use rollbackd_core::config::node::{Node, Place, Value};
use rollbackd_core::config::{Service, Trigger};

/// The keys of a trigger whose places matter.
const KEYS: [&str; 6] = ["bad", "total", "expr", "for", "baseline", "name"];

/// The places of one config.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// By the service whose own list it is (none for the shared list), the trigger and the key.
    of_triggers: BTreeMap<(Option<String>, String, &'static str), Place>,
    version_queries: BTreeMap<String, Place>,
}

impl Places {
    /// The places in a config's tree.
    pub(super) fn of(root: &Node) -> Self {
        let mut places = Self::default();
        places.take_list(None, root);
        for service in items(get(root, "services")) {
            let Some(name) = text(get(service, "name")) else { continue };
            places.take_list(Some(name), service);
            if let Some(query) = get(service, "version_query") {
                places.version_queries.insert(name.to_owned(), query.place);
            }
        }
        places
    }

    /// Where the value of a trigger's key stands, or its name where it has no such key.
    pub(super) fn of_trigger(&self, service: &Service, trigger: &Trigger, key: &'static str) -> Place {
        let owner = trigger.shared.is_none().then(|| service.name.to_string());
        let place = |key| self.of_triggers.get(&(owner.clone(), trigger.name.to_string(), key)).copied();
        place(key).or_else(|| place("name")).unwrap_or(Place { line: 1, column: 1 })
    }

    /// Where a service's `version_query` stands.
    pub(super) fn of_version_query(&self, service: &Service) -> Place {
        self.version_queries.get(service.name.as_str()).copied().unwrap_or(Place { line: 1, column: 1 })
    }

    fn take_list(&mut self, owner: Option<&str>, node: &Node) {
        for trigger in items(get(node, "triggers")) {
            let Some(name) = text(get(trigger, "name")) else { continue };
            let mut put = |key, node: Option<&Node>| {
                if let Some(node) = node {
                    self.of_triggers.insert((owner.map(str::to_owned), name.to_owned(), key), node.place);
                }
            };
            KEYS.into_iter().for_each(|key| put(key, get(trigger, key)));
            put("at_least", get(trigger, "at_least").and_then(|node| get(node, "expr")));
        }
    }
}

fn get<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|(name, _)| text(Some(name)) == Some(key)).map(|(_, value)| value)
}

fn items(node: Option<&Node>) -> &[Node] {
    match node.map(|node| &node.value) {
        Some(Value::List(items)) => items,
        Some(Value::Null | Value::Scalar { .. } | Value::Map(_)) | None => &[],
    }
}

fn text(node: Option<&Node>) -> Option<&str> {
    match node.map(|node| &node.value) {
        Some(Value::Scalar { text, .. }) => Some(text),
        Some(Value::Null | Value::List(_) | Value::Map(_)) | None => None,
    }
}
