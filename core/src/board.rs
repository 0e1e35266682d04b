//! The board: what the last look at each trigger showed, for people and for the looks that follow.
//!
//! Never durable: after a start everything is looked at anew.

use litemap::LiteMap;

use crate::by_service::ByService;
use crate::config::Config;
use crate::name::{ServiceName, TriggerName};
use crate::reading::Look;
use crate::time::Timestamp;
use crate::trigger::{Arming, Calm, SoFar, Verdict};

/// What the last look at a trigger showed: of its verdict what is asked for until the next one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown {
    /// What the newest slot showed.
    pub look: Option<Look>,
    /// Since when it has been breaching without a gap, where it is.
    pub breaching_since: Option<Timestamp>,
    /// Whether it may still fire.
    pub may_fire: bool,
    /// Up to this slot everything was answered for good.
    pub answered_until: Option<Timestamp>,
    /// What the next look may go on from.
    pub so_far: Option<SoFar>,
}

impl From<Verdict> for Shown {
    fn from(verdict: Verdict) -> Self {
        Self {
            look: verdict.latest.map(|point| point.look),
            breaching_since: verdict.breaching_since,
            may_fire: verdict.arming == Arming::Armed && verdict.fired.is_none(),
            answered_until: verdict.answered_until,
            so_far: verdict.so_far,
        }
    }
}

/// What is kept of that.
#[derive(Clone, Debug, PartialEq)]
enum Kept {
    Calm { look: Option<Look>, may_fire: bool, answered_until: Option<Timestamp>, so_far: Option<Calm> },
    Other(Box<Shown>),
}

impl From<Shown> for Kept {
    fn from(shown: Shown) -> Self {
        let Shown { look, breaching_since, may_fire, answered_until, so_far } = shown;
        let calm = so_far.map(SoFar::calm);
        match (breaching_since, calm) {
            (None, None) => Self::Calm { look, may_fire, answered_until, so_far: None },
            (None, Some(Some(calm))) => Self::Calm { look, may_fire, answered_until, so_far: Some(calm) },
            (Some(_), _) | (None, Some(None)) => Self::Other(Box::new(shown)),
        }
    }
}

impl Kept {
    fn shown(&self) -> Shown {
        match self {
            Self::Calm { look, may_fire, answered_until, so_far } => Shown {
                look: *look,
                breaching_since: None,
                may_fire: *may_fire,
                answered_until: *answered_until,
                so_far: so_far.map(SoFar::from),
            },
            Self::Other(shown) => **shown,
        }
    }
}

/// What the last look at each trigger showed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Board(ByService<LiteMap<TriggerName, Kept>>);

impl Board {
    /// Puts what a look came to in the place of what the look before it did. There is room for as many as the service has
    /// triggers, and no more.
    pub fn put(&mut self, config: &Config, service: &ServiceName, trigger: &TriggerName, shown: Shown) {
        let own = self.0.or_default(service);
        if own.is_empty() {
            *own = LiteMap::with_capacity(config.services.get(service).map_or(0, |plan| plan.triggers.len()));
        }
        own.insert(trigger.clone(), shown.into());
    }

    /// What the last look at this trigger came to.
    #[must_use]
    pub fn get(&self, service: &ServiceName, trigger: &TriggerName) -> Option<Shown> {
        Some(self.0.get(service)?.get(trigger)?.shown())
    }

    /// Forgets what was seen of a service: another deploy is looked at, or none.
    pub fn forget(&mut self, service: &ServiceName) {
        self.0.remove(service.as_str());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::reading::Point;
    use crate::trigger::{Rule, judge};

    const STEP: Duration = Duration::from_secs(15);

    /// What judging this row of slots shows: clear, breaching, no traffic, no data.
    fn shown(row: &[char]) -> Shown {
        let begin = Timestamp::from_milliseconds(1_800_000_000_000).floor(STEP);
        let look = |letter: &char| match letter {
            'c' => Look::Clear(0.01),
            'b' => Look::Breach(0.2),
            't' => Look::NoTraffic,
            _ => Look::NoData,
        };
        let point = |(at, letter)| Point { at, look: look(letter) };
        let slots = std::iter::successors(Some(begin), |slot| Some(*slot + STEP));
        let points: Vec<Point> = slots.zip(row).map(point).collect();
        let rule = Rule { hold: STEP, step: STEP, window: STEP, interval: STEP, deploy_at: begin, since_deploy: false };
        judge(&rule, Arming::Unknown, &points, None).into()
    }

    #[test]
    fn what_is_put_on_the_board_is_what_is_found_there_whatever_was_seen() {
        let (config, mut board) = (Config::default(), Board::default());
        let (service, trigger) = (ServiceName::new("shop").unwrap(), TriggerName::new("errors").unwrap());
        let (mut calm, mut other) = (0, 0);
        for number in 0..4_usize.pow(7) {
            let row: Vec<char> = (0..7).map(|place| ['c', 'b', 't', 'n'][number / 4_usize.pow(place) % 4]).collect();
            let shown = shown(&row);
            board.put(&config, &service, &trigger, shown);
            assert_eq!(board.get(&service, &trigger), Some(shown), "{row:?}");
            match Kept::from(shown) {
                Kept::Calm { .. } => calm += 1,
                Kept::Other(_) => other += 1,
            }
        }
        assert!(calm > 1000 && other > 1000, "{calm} {other}");
    }

    #[test]
    fn a_trigger_may_fire_while_it_is_armed_and_has_not_fired() {
        for (row, may_fire) in [("cb", true), ("cc", true), ("cbb", false), ("bb", false), ("bbc", true)] {
            let row: Vec<char> = row.chars().collect();
            assert_eq!(shown(&row).may_fire, may_fire, "{row:?}");
        }
    }

    #[test]
    fn what_is_kept_of_a_fleet_is_small_and_what_is_not_clear_is_so_as_well_where_nothing_breaches() {
        assert!(size_of::<Kept>() <= 80, "{} bytes", size_of::<Kept>());
        for row in ["ccccccc", "ccntccc", "ttttttt", "nnnnnnn"] {
            let row: Vec<char> = row.chars().collect();
            assert!(matches!(Kept::from(shown(&row)), Kept::Calm { .. }), "{row:?}");
        }
    }
}
