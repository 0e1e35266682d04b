//! A trigger in words, as somebody says it to a colleague; and how long saying it takes.

use std::time::Duration;

use rollbackd_core::config::{Action, Condition, Limit, Observed, Trigger};

/// How long a trigger's sentence may take to be read aloud, in seconds.
pub const LONGEST_SECONDS: usize = 10;

/// An unhurried voice.
const WORDS_A_MINUTE: usize = 150;

/// When it fires: "error-rate is above 5% for 2 minutes".
pub(super) fn when(trigger: &Trigger) -> String {
    let name = trigger.name.as_str();
    let Observed::Metric(metric) = &trigger.observed else { return format!("somebody reports {name}") };
    let limit = |limit: &Limit| match limit {
        Limit::Fixed { value, shown_as_percentage: true } => format!("{}%", number(value * 100.0)),
        Limit::Fixed { value, shown_as_percentage: false } => number(*value),
        Limit::TimesBaseline { factor, .. } => format!("{} times its baseline", number(*factor)),
    };
    let condition = match &metric.condition {
        Condition::Above(above) => format!("is above {}", limit(above)),
        Condition::Below(below) => format!("is below {}", limit(below)),
        Condition::Any => "alerts".to_owned(),
    };
    let hold = if trigger.hold.is_zero() { String::new() } else { format!(" for {}", duration(trigger.hold)) };
    format!("{name} {condition}{hold}")
}

/// What happens then.
pub(super) fn what(trigger: &Trigger) -> String {
    match trigger.action {
        Action::Shadow => "it is recorded, nothing else".to_owned(),
        Action::Page if trigger.never_roll_back => "page; never roll back code alone".to_owned(),
        Action::Page => "page; a human approves".to_owned(),
        Action::Rollback if trigger.veto.is_zero() => "roll back".to_owned(),
        Action::Rollback => format!("page, and roll back after {} unless dismissed", duration(trigger.veto)),
    }
}

/// All of it in a sentence, with its note.
pub(super) fn sentence(trigger: &Trigger) -> String {
    let budget = trigger.budget.map(|budget| format!(", within {}", duration(budget))).unwrap_or_default();
    let note = trigger.note.as_deref().map(|note| format!(" {note}")).unwrap_or_default();
    format!("If {}, {}{budget}.{note}", when(trigger), what(trigger))
}

/// How many seconds reading it aloud takes, where that is too long.
pub(super) fn too_long(sentence: &str) -> Option<usize> {
    // What is written with hyphens is said in words.
    let parts = sentence.split(|each: char| each.is_whitespace() || "-_/".contains(each));
    let words = parts.filter(|word| word.chars().any(char::is_alphanumeric)).count();
    let seconds = (words * 60).div_ceil(WORDS_A_MINUTE);
    (seconds > LONGEST_SECONDS).then_some(seconds)
}

fn number(value: f64) -> String {
    // What was written as 5% is 5.000000000000001 by now.
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn duration(duration: Duration) -> String {
    let mut left = duration.as_millis();
    let mut parts = Vec::new();
    for (unit, milliseconds) in
        [("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1000), ("millisecond", 1)]
    {
        let count = left / milliseconds;
        left %= milliseconds;
        match count {
            0 => {}
            1 => parts.push(format!("1 {unit}")),
            _ => parts.push(format!("{count} {unit}s")),
        }
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_said_in_words() {
        assert_eq!(duration(Duration::from_secs(90)), "1 minute 30 seconds");
        assert_eq!(duration(Duration::from_millis(500)), "500 milliseconds");
    }

    #[test]
    fn ten_seconds_are_twenty_five_words() {
        let words = |count: usize| vec!["word"; count].join(" ");
        assert_eq!(too_long(&words(25)), None);
        assert_eq!(too_long(&words(26)), Some(11));
        assert_eq!(too_long(&format!("{} one-more", words(24))), Some(11));
        assert_eq!(too_long(&format!("{} - ;", words(25))), None, "signs are not said");
    }

    #[test]
    fn a_limit_is_said_as_it_was_written() {
        assert_eq!(number(0.05 * 100.0), "5");
        assert_eq!((number(2.0), number(0.125)), ("2".to_owned(), "0.125".to_owned()));
    }
}
