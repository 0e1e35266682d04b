//! Templates in queries, paths and pages: text with `{{ name }}`, out of a closed set of names.
//!
//! Never evaluates anything: a value is put in as it is, and a name that has no value is an error, not an empty text.

use std::collections::BTreeMap;
use std::fmt;

use crate::name::{Commit, ServiceName, Version};
use crate::time::Timestamp;

/// A closed set of names that may stand between braces.
pub trait Names: Copy + 'static {
    /// All of them, in the order in which messages list them.
    const ALL: &'static [Self];

    /// As it is written between the braces.
    fn name(self) -> &'static str;
}

/// What a template of a query or a path may name (design, "Configuration").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variable {
    /// `service`: the service's name.
    Service,
    /// `deploy.version`: the version that was deployed.
    DeployVersion,
    /// `deploy.at`: when, RFC 3339.
    DeployAt,
    /// `deploy.commit`: its commit, where the event named one.
    DeployCommit,
    /// `target.version`: the version to return to.
    TargetVersion,
    /// `target.revision`: the platform's revision of the target, as `version_query`'s label `revision` showed it.
    TargetRevision,
    /// `firing.id`: the firing, which is the correlation id as well.
    FiringId,
    /// `attempt.id`: the attempt, by which a remote can tell it from others; in a path alone.
    AttemptId,
    /// `since_deploy`: a PromQL duration from the deploy to the instant that is asked for.
    SinceDeploy,
    /// `bad_window`: a PromQL duration from the deploy to the recovery; in `side_effects` alone.
    BadWindow,
}

impl Variable {
    /// All of them, in the order in which messages list them.
    pub const ALL: [Self; 10] = [
        Self::Service,
        Self::DeployVersion,
        Self::DeployAt,
        Self::DeployCommit,
        Self::TargetVersion,
        Self::TargetRevision,
        Self::FiringId,
        Self::AttemptId,
        Self::SinceDeploy,
        Self::BadWindow,
    ];

    /// As it is written between the braces.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::DeployVersion => "deploy.version",
            Self::DeployAt => "deploy.at",
            Self::DeployCommit => "deploy.commit",
            Self::TargetVersion => "target.version",
            Self::TargetRevision => "target.revision",
            Self::FiringId => "firing.id",
            Self::AttemptId => "attempt.id",
            Self::SinceDeploy => "since_deploy",
            Self::BadWindow => "bad_window",
        }
    }
}

impl Names for Variable {
    const ALL: &'static [Self] = &Self::ALL;

    fn name(self) -> &'static str {
        Self::name(self)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece<V> {
    Text(String),
    Value(V),
}

/// A text with places for the values of these names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<V> {
    source: String,
    pieces: Vec<Piece<V>>,
}

/// A text with places for variables.
pub type Template = Text<Variable>;

/// A template that names nothing that is known, or that is not closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadTemplate {
    message: String,
}

/// A variable that has no value here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{{{{ {} }}}} is not known here", .0.name())]
pub struct Unknown(pub Variable);

/// The values of variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<Variable, String>);

impl Values {
    /// What queries and paths may name of a deploy of a service.
    #[must_use]
    pub fn of_deploy(service: &ServiceName, version: &Version, at: Timestamp, commit: Option<&Commit>) -> Self {
        Self::default()
            .with(Variable::Service, service.as_str())
            .with(Variable::DeployVersion, version.as_str())
            .with(Variable::DeployAt, at.to_string())
            .with_some(Variable::DeployCommit, commit.map(Commit::as_str))
    }

    /// The same values and one more.
    #[must_use]
    pub fn with(mut self, variable: Variable, value: impl Into<String>) -> Self {
        self.0.insert(variable, value.into());
        self
    }

    /// The same values and, where there is one, one more.
    #[must_use]
    pub fn with_some(self, variable: Variable, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.with(variable, value),
            None => self,
        }
    }
}

impl<V: Names> Text<V> {
    /// Reads a template.
    ///
    /// # Errors
    /// An unknown name between braces (with the nearest ones), or braces that are not closed.
    pub fn parse(source: &str) -> Result<Self, BadTemplate> {
        let mut pieces = Vec::new();
        let mut rest = source;
        while let Some(start) = rest.find("{{") {
            pieces.push(Piece::Text(rest[..start].to_owned()));
            let inside = &rest[start + 2..];
            let Some(end) = inside.find("}}") else {
                return Err(BadTemplate { message: "{{ is not closed by }}".to_owned() });
            };
            pieces.push(Piece::Value(variable(inside[..end].trim())?));
            rest = &inside[end + 2..];
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self { source: source.to_owned(), pieces })
    }

    /// The text as it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The one name that it consists of, with nothing around it.
    #[must_use]
    pub fn sole(&self) -> Option<V> {
        match self.pieces.as_slice() {
            [Piece::Text(before), Piece::Value(name), Piece::Text(after)] if before.is_empty() && after.is_empty() => {
                Some(*name)
            }
            _ => None,
        }
    }

    /// The text with each name's value in its place.
    ///
    /// # Errors
    /// What `value` says of a name that has none.
    pub fn fill<T: AsRef<str>, E>(&self, value: impl Fn(V) -> Result<T, E>) -> Result<String, E> {
        let mut text = String::with_capacity(self.source.len());
        for piece in &self.pieces {
            match piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::Value(name) => text.push_str(value(*name)?.as_ref()),
            }
        }
        Ok(text)
    }
}

impl Template {
    /// The variables in it, in their order.
    pub fn variables(&self) -> impl Iterator<Item = Variable> + '_ {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Value(variable) => Some(*variable),
        })
    }

    /// Whether it names this variable.
    #[must_use]
    pub fn names(&self, variable: Variable) -> bool {
        self.variables().any(|each| each == variable)
    }

    /// The text with each variable's value in its place.
    ///
    /// # Errors
    /// A variable that has no value.
    pub fn render(&self, values: &Values) -> Result<String, Unknown> {
        self.fill(|variable| values.0.get(&variable).ok_or(Unknown(variable)))
    }
}

impl<V> fmt::Display for Text<V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.source)
    }
}

fn variable<V: Names>(name: &str) -> Result<V, BadTemplate> {
    let known = V::ALL.iter().copied().find(|variable| variable.name() == name);
    known.ok_or_else(|| {
        let names: Vec<&str> = V::ALL.iter().map(|variable| variable.name()).collect();
        let near = crate::name::nearest(name, names.iter().copied());
        let hint = if near.is_empty() { names.join(", ") } else { near.join(" or ") };
        BadTemplate { message: format!("unknown template variable {name:?}: expected {hint}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_put_in_as_they_are() {
        let template = Template::parse("--to={{ target.version }}=100 {{service}}").unwrap();
        let values =
            Values::default().with(Variable::TargetVersion, "v1; rm {{ service }}").with(Variable::Service, "shop");
        assert_eq!(template.render(&values).unwrap(), "--to=v1; rm {{ service }}=100 shop");
    }

    #[test]
    fn a_missing_value_is_an_error_and_not_empty() {
        let template = Template::parse("{{ target.revision }}").unwrap();
        assert_eq!(template.render(&Values::default()), Err(Unknown(Variable::TargetRevision)));
    }

    #[test]
    fn an_unknown_name_says_the_nearest() {
        let error = Template::parse("{{ target.versoin }}").unwrap_err().to_string();
        assert!(error.contains("target.version"), "{error}");
        assert!(Template::parse("{{ service").is_err());
    }
}
