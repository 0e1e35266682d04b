//! The names of all that `check` points at although the config can be used: stable, so that a comment can switch one off.
//!
//! Never says what is wrong in one config: whoever finds it does, with its place.

use std::fmt;

/// One thing that `check` points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lint {
    /// A limit of 1 or more for a ratio: a percentage without its sign.
    PercentageSign,
    /// A limit of one baseline or less, above which healthy versions are half of the time.
    BaselineFactor,
    /// A baseline's window of less than a minute.
    ShortBaseline,
    /// `since_deploy` in a query that is compared with a baseline.
    MovingBaseline,
    /// A comparison in a query that has a limit already.
    ComparisonAndLimit,
    /// A query that is no PromQL, let through on purpose.
    UnknownDialect,
    /// A trigger that rolls back without a budget.
    NoBudget,
    /// A budget of more than 15 minutes.
    LongBudget,
    /// A budget of less than 2 minutes.
    ShortBudget,
    /// `rollback: never` for a trigger that rolls nothing back.
    ShadowNever,
    /// A veto for a trigger that starts nothing.
    IdleVeto,
    /// A service without triggers.
    NoTriggers,
    /// A path that may take longer than every budget.
    PathOverBudget,
    /// A service that pages nobody.
    PagesNobody,
    /// A service that rolls back and whose serving version can't be proven.
    NoVersionQuery,
    /// A service that says nothing of side effects.
    NoSideEffects,
    /// A remote that is polled faster than it allows.
    FastPolling,
    /// `for` is shorter than the range that its query looks back.
    ForBelowWindow,
    /// A ratio without a least traffic.
    RatioWithoutAtLeast,
    /// How long a real failure needs until a ratio's range shows it.
    WindowCost,
    /// A comment that allows what does not exist.
    UnknownAllow,
    /// A comment that allows what is not found there.
    UnusedAllow,
    /// A query that returns nothing now.
    EmptyNow,
    /// A range shorter than four scrapes.
    FewScrapes,
    /// Several series where one is meant.
    ManySeries,
    /// `rate` and its like over a gauge.
    RateOfGauge,
    /// A label, a value or a metric that does not exist.
    LabelMatchesNothing,
    /// A baseline's window that reaches behind the deploy before.
    BaselineBehindDeploy,
}

impl Lint {
    /// All of them.
    pub const ALL: [Self; 28] = [
        Self::PercentageSign,
        Self::BaselineFactor,
        Self::ShortBaseline,
        Self::MovingBaseline,
        Self::ComparisonAndLimit,
        Self::UnknownDialect,
        Self::NoBudget,
        Self::LongBudget,
        Self::ShortBudget,
        Self::ShadowNever,
        Self::IdleVeto,
        Self::NoTriggers,
        Self::PathOverBudget,
        Self::PagesNobody,
        Self::NoVersionQuery,
        Self::NoSideEffects,
        Self::FastPolling,
        Self::ForBelowWindow,
        Self::RatioWithoutAtLeast,
        Self::WindowCost,
        Self::UnknownAllow,
        Self::UnusedAllow,
        Self::EmptyNow,
        Self::FewScrapes,
        Self::ManySeries,
        Self::RateOfGauge,
        Self::LabelMatchesNothing,
        Self::BaselineBehindDeploy,
    ];

    /// The name by which it is shown and allowed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PercentageSign => "percentage-sign",
            Self::BaselineFactor => "baseline-factor",
            Self::ShortBaseline => "short-baseline",
            Self::MovingBaseline => "moving-baseline",
            Self::ComparisonAndLimit => "comparison-and-limit",
            Self::UnknownDialect => "unknown-dialect",
            Self::NoBudget => "no-budget",
            Self::LongBudget => "long-budget",
            Self::ShortBudget => "short-budget",
            Self::ShadowNever => "shadow-never",
            Self::IdleVeto => "idle-veto",
            Self::NoTriggers => "no-triggers",
            Self::PathOverBudget => "path-over-budget",
            Self::PagesNobody => "pages-nobody",
            Self::NoVersionQuery => "no-version-query",
            Self::NoSideEffects => "no-side-effects",
            Self::FastPolling => "fast-polling",
            Self::ForBelowWindow => "for-below-window",
            Self::RatioWithoutAtLeast => "ratio-without-at-least",
            Self::WindowCost => "window-cost",
            Self::UnknownAllow => "unknown-allow",
            Self::UnusedAllow => "unused-allow",
            Self::EmptyNow => "empty-now",
            Self::FewScrapes => "few-scrapes",
            Self::ManySeries => "many-series",
            Self::RateOfGauge => "rate-of-gauge",
            Self::LabelMatchesNothing => "label-matches-nothing",
            Self::BaselineBehindDeploy => "baseline-behind-deploy",
        }
    }

    /// The lint of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lint| lint.name() == name)
    }

    /// Whether it is looked for only where Prometheus may be asked.
    #[must_use]
    pub const fn needs_prometheus(self) -> bool {
        match self {
            Self::EmptyNow
            | Self::FewScrapes
            | Self::ManySeries
            | Self::RateOfGauge
            | Self::LabelMatchesNothing
            | Self::BaselineBehindDeploy => true,
            Self::PercentageSign
            | Self::BaselineFactor
            | Self::ShortBaseline
            | Self::MovingBaseline
            | Self::ComparisonAndLimit
            | Self::UnknownDialect
            | Self::NoBudget
            | Self::LongBudget
            | Self::ShortBudget
            | Self::ShadowNever
            | Self::IdleVeto
            | Self::NoTriggers
            | Self::PathOverBudget
            | Self::PagesNobody
            | Self::NoVersionQuery
            | Self::NoSideEffects
            | Self::FastPolling
            | Self::ForBelowWindow
            | Self::RatioWithoutAtLeast
            | Self::WindowCost
            | Self::UnknownAllow
            | Self::UnusedAllow => false,
        }
    }
}

impl fmt::Display for Lint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_lint_has_a_name_of_its_own_that_finds_it_again() {
        let names: BTreeSet<&str> = Lint::ALL.into_iter().map(Lint::name).collect();
        assert_eq!(names.len(), Lint::ALL.len());
        for lint in Lint::ALL {
            assert_eq!(Lint::named(lint.name()), Some(lint));
            assert!(lint.name().chars().all(|each| each.is_ascii_lowercase() || each == '-'), "{lint}");
        }
        assert_eq!(Lint::named("nothing"), None);
    }
}
