//! The runbook: the trigger list, the ways back and what else the config knows, as markdown for a person who has never
//! seen the service and may have to do it without the daemon.
//!
//! Never holds an instant of "now" or a version of this program: the same config and the same receipts give the same
//! text, so that a pipeline can compare it. Never writes a text of the config but as code or escaped words.

mod by_hand;
mod markers;
mod spoken;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rollbackd_core::config::{PathRule, Service, SideEffect, Trigger};
use rollbackd_core::name::{PathName, ServiceName};
use rollbackd_core::receipt::text::{LONGEST_LINE, cell, code_span, fenced, line, prose};
use rollbackd_core::receipt::{FrontMatter, PathExperience, definition, stem, took};
use rollbackd_core::template::{Template, Values, Variable};
use rollbackd_core::time::{Timestamp, show_duration};

use crate::config::Settings;

pub use markers::{BEGIN, END, NoPlace, compare, put_between};
pub use spoken::LONGEST_SECONDS;

/// What receipts tell of one service's rehearsals.
#[derive(Clone, Debug, Default)]
pub struct Rehearsed {
    /// The last rehearsal that each path did.
    pub last: BTreeMap<PathName, FrontMatter>,
    /// What each path was in its last rehearsal.
    pub experience: Vec<PathExperience>,
}

/// What a person would put for what is not known before there is an incident.
#[derive(Clone, Debug, Default)]
pub struct Filled {
    /// The version that does harm, where it is known.
    pub bad: Option<String>,
    /// The version to return to, where it is known.
    pub target: Option<String>,
    /// The platform's revision of that version, where it is known.
    pub revision: Option<String>,
    /// The commit of the bad version, where it is known.
    pub commit: Option<String>,
    /// When the bad version was deployed, where it is known.
    pub at: Option<Timestamp>,
}

/// A runbook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runbook {
    /// Its markdown, without the markers.
    pub markdown: String,
    /// What its writer should look at: trigger sentences that take too long to say.
    pub warnings: Vec<String>,
}

/// The runbook of every service of the config.
#[must_use]
pub fn runbook(
    settings: &Settings,
    rehearsed: &BTreeMap<ServiceName, Rehearsed>,
    filled: &BTreeMap<ServiceName, Filled>,
) -> Runbook {
    let mut markdown = String::from(
        "Written by `rollbackd runbook` out of the config and the receipts: change those, not this text. Words in capitals \
         (`VERSION`) stand for what is only known when it happens.\n",
    );
    let mut warnings = Vec::new();
    for service in settings.core.services.values() {
        let nothing = (Rehearsed::default(), Filled::default());
        let told = Told {
            settings,
            service,
            rehearsed: rehearsed.get(&service.name).unwrap_or(&nothing.0),
            values: values(service, filled.get(&service.name).unwrap_or(&nothing.1)),
        };
        told.write(&mut markdown, &mut warnings);
    }
    // No text of the config ends the part of a page that is ours.
    let markdown = markdown.replace("<!-- rollbackd runbook:", "<!--rollbackd runbook:");
    Runbook { markdown, warnings }
}

/// One service, and all that is known of it.
struct Told<'a> {
    settings: &'a Settings,
    service: &'a Service,
    rehearsed: &'a Rehearsed,
    values: Values,
}

fn values(service: &Service, filled: &Filled) -> Values {
    let or = |known: &Option<String>, word: &str| known.clone().unwrap_or_else(|| word.to_owned());
    Values::default()
        .with(Variable::Service, service.name.as_str())
        .with(Variable::DeployVersion, or(&filled.bad, "BAD_VERSION"))
        .with(Variable::DeployAt, filled.at.map_or("DEPLOYED_AT".to_owned(), |at| at.to_string()))
        .with(Variable::DeployCommit, or(&filled.commit, "BAD_COMMIT"))
        .with(Variable::TargetVersion, or(&filled.target, "VERSION"))
        .with(Variable::TargetRevision, or(&filled.revision, "REVISION"))
        .with(Variable::FiringId, "BY_HAND")
        .with(Variable::AttemptId, "BY_HAND")
        .with(Variable::SinceDeploy, "SINCE_DEPLOY")
        .with(Variable::BadWindow, "BAD_WINDOW")
}

impl Told<'_> {
    fn write(&self, text: &mut String, warnings: &mut Vec<String>) {
        let name = code_span(self.service.name.as_str());
        let _ = writeln!(text, "\n## Rolling back {name}\n");
        self.triggers(text, warnings);
        self.paths(text);
        by_hand::steps(self, text);
        self.migrations(text);
        self.side_effects(text);
    }

    /// A template of the config with what is known in it.
    fn fill(&self, template: &Template) -> String {
        // Every variable has a value here.
        template.render(&self.values).unwrap_or_else(|_| template.source().to_owned())
    }

    fn triggers(&self, text: &mut String, warnings: &mut Vec<String>) {
        let watch = show_duration(self.service.watch);
        let _ = writeln!(text, "### When\n\nFor {watch} after each deploy:\n");
        if self.service.triggers.is_empty() {
            text.push_str("No trigger is configured: nothing is rolled back.\n");
            return;
        }
        text.push_str("| trigger | when | budget | what happens |\n|---|---|---|---|\n");
        for trigger in &self.service.triggers {
            let budget = trigger.budget.map_or("none".to_owned(), show_duration);
            let _ = writeln!(
                text,
                "| {} | {} | {budget} | {} |",
                cell(trigger.name.as_str()),
                prose(&spoken::when(trigger)),
                prose(&spoken::what(trigger)),
            );
        }
        text.push('\n');
        for trigger in &self.service.triggers {
            self.too_long(trigger, text, warnings);
        }
    }

    fn too_long(&self, trigger: &Trigger, text: &mut String, warnings: &mut Vec<String>) {
        let sentence = spoken::sentence(trigger);
        let Some(seconds) = spoken::too_long(&sentence) else { return };
        let name = &trigger.name;
        let _ = writeln!(
            text,
            "Too long to say under pressure: {} takes {seconds} seconds to read aloud, and {LONGEST_SECONDS} are enough. Make \
             its name or note shorter: “{}”\n",
            code_span(name.as_str()),
            prose(&line(&sentence, LONGEST_LINE))
        );
        warnings.push(format!(
            "{}: trigger {name} takes {seconds} seconds to read aloud, and {LONGEST_SECONDS} are enough: make its name or \
             note shorter",
            self.service.name
        ));
    }

    fn paths(&self, text: &mut String) {
        text.push_str("### Ways back, preferred first\n\n");
        if self.service.paths.is_empty() {
            text.push_str("No path is configured: a person rolls back by hand.\n\n");
        }
        for (index, rule) in self.service.paths.iter().enumerate() {
            self.path(index + 1, rule, text);
        }
    }

    fn path(&self, number: usize, rule: &PathRule, text: &mut String) {
        let run: Vec<String> = rule.run.iter().map(|part| self.fill(&part.value)).collect();
        let _ = writeln!(
            text,
            "{number}. {} ({}), up to {}. {}\n",
            code_span(rule.name.as_str()),
            code_span(rule.kind),
            show_duration(rule.timeout),
            self.rehearsal(rule)
        );
        let ours = shown(rule, &run);
        text.push_str("   rollbackd runs:\n\n");
        text.push_str(&indented(&fenced(&ours)));
        let path = self.settings.paths.get(&(self.service.name.clone(), rule.name.clone()));
        let by_hand = path.map(|path| path.by_hand(&run)).unwrap_or_default();
        if !by_hand.first.is_empty() {
            let _ = writeln!(text, "\n   By hand: {}", prose(&line(&by_hand.first, LONGEST_LINE)));
        }
        let lines = by_hand.lines().join("\n");
        if !lines.is_empty() && lines != ours {
            let _ = write!(text, "\n{}", indented(&fenced(&lines)));
        }
        if let Some(left) = &rule.leaves_behind {
            let _ = writeln!(text, "\n   Afterwards: {}.", prose(&line(left, LONGEST_LINE)));
        }
        text.push('\n');
    }

    fn rehearsal(&self, rule: &PathRule) -> String {
        let Some(last) = self.rehearsed.last.get(&rule.name) else { return "**Never rehearsed.**".to_owned() };
        let on = last.observed_at.to_string();
        let in_time = last.total.map_or(", and did not recover".to_owned(), |total| format!(" in {}", took(total)));
        let known = self.rehearsed.experience.iter().find(|known| known.path == rule.name);
        let then = known.and_then(|known| known.rehearsed_as.as_ref());
        let changed = if then.is_some_and(|then| *then != definition(rule)) {
            " **It has changed since: rehearse it again.**"
        } else {
            ""
        };
        let day = on.get(..10).unwrap_or_default();
        format!("Last rehearsed on {day}{in_time} (receipt {}).{changed}", stem(last.number))
    }

    fn migrations(&self, text: &mut String) {
        text.push_str(
            "### Migrations\n\nA deploy that is reported with `migration: true` is never rolled back by itself: a person is \
             paged, since older code can't live with the data.\n",
        );
        let noted = self.service.triggers.iter().filter_map(|trigger| Some((trigger, trigger.note.as_ref()?)));
        for (trigger, note) in noted {
            let never = if trigger.never_roll_back { " (code alone is never rolled back)" } else { "" };
            let note = prose(&line(note, LONGEST_LINE));
            let _ = write!(text, "\n- {}{never}: {note}", code_span(trigger.name.as_str()));
        }
        text.push_str("\n\n");
    }

    fn side_effects(&self, text: &mut String) {
        text.push_str("### What a rollback does not undo\n\n");
        match self.service.side_effects.as_deref() {
            None => {
                text.push_str("**Not declared.** Declare `side_effects`, or write `side_effects: none` on purpose.\n");
            }
            Some([]) => text.push_str("Nothing: `side_effects: none` says so.\n"),
            Some(effects) => {
                text.push_str("| side effect | how many | what a person does |\n|---|---|---|\n");
                effects.iter().for_each(|effect| text.push_str(&self.side_effect(effect)));
            }
        }
    }

    fn side_effect(&self, effect: &SideEffect) -> String {
        let text = |text: &str| cell(&line(text, LONGEST_LINE));
        let compensate = prose(&line(&self.fill(&effect.compensate), LONGEST_LINE));
        format!("| {} | {} | {compensate} |\n", text(&effect.name), text(&self.fill(&effect.count)))
    }
}

/// What rollbackd runs, one part a line: the receipt shows the same.
fn shown(rule: &PathRule, run: &[String]) -> String {
    if rule.run.iter().all(|part| part.name.is_empty()) && rule.kind == "command" {
        return crate::paths::by_hand::line(run);
    }
    let parts = rule
        .run
        .iter()
        .zip(run)
        .map(|(part, value)| if part.name.is_empty() { value.clone() } else { format!("{}={value}", part.name) });
    format!("{}:\n{}", rule.kind, parts.map(|part| format!("  {part}")).collect::<Vec<_>>().join("\n"))
}

/// A block within an item of a list.
fn indented(block: &str) -> String {
    block.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("   {line}\n") }).collect()
}
