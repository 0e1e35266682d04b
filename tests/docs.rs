//! The documentation against the program: examples load, links lead somewhere, and no key, route or metric is missing.
//!
//! Never checks how something is said.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy sees only in the tests themselves")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The files below a folder whose names end like this, by their names below the repository.
fn files(dir: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![PathBuf::from(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(root().join(&dir)).unwrap() {
            let entry = entry.unwrap();
            let file = dir.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                dirs.push(file);
            } else if file.extension().is_some_and(|found| found == extension) {
                found.push(file.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Every page, by its name.
fn pages() -> BTreeMap<String, String> {
    let mut names = files("docs", "md");
    names.extend(["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(str::to_owned));
    names.into_iter().map(|name| (name.clone(), read(&name))).collect()
}

/// The fenced blocks of a page: their language and their content.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(language), None) => open = Some((language.to_owned(), String::new())),
            (Some(_), Some(block)) => found.push(block),
            (None, Some((language, content))) => open = Some((language, content + line + "\n")),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    found
}

fn without_blocks(page: &str) -> String {
    let mut inside = false;
    let mut outside = String::new();
    for line in page.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if !inside {
            outside += line;
            outside.push('\n');
        }
    }
    outside
}

fn is_whole_config(block: &str) -> bool {
    block.lines().any(|line| line.starts_with("services:"))
}

#[test]
fn every_example_can_be_used() {
    let examples: Vec<String> = files("docs/examples", "yml").into_iter().chain(files("config", "yml")).collect();
    let configs: Vec<&String> = examples.iter().filter(|file| is_whole_config(&read(file))).collect();
    assert!(configs.len() >= 8, "{configs:?}");
    for config in configs {
        let mut check = Command::new(env!("CARGO_BIN_EXE_rollbackd"));
        let ran = check.args(["check", "--config", config]).current_dir(root()).output().unwrap();
        assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stdout));
    }
}

#[test]
fn every_recipe_says_what_it_needs_and_what_it_leaves_behind() {
    let recipes = files("config/recipes", "yml");
    assert!(recipes.len() >= 5, "{recipes:?}");
    let page = read("docs/paths/command.md");
    for recipe in recipes {
        let text = read(&recipe);
        for expected in ["\n# Needs: ", "\n# Leaves behind: ", " leaves_behind: \"", "{{ target."] {
            assert!(text.contains(expected), "{recipe} has no {expected:?}");
        }
        assert!(page.contains(&format!("(../../{recipe})")), "docs/paths/command.md does not name {recipe}");
    }
}

#[test]
fn every_whole_config_that_a_page_shows_is_an_example() {
    let examples: Vec<String> = files("docs/examples", "yml").iter().map(|file| read(file)).collect();
    for (name, page) in pages() {
        let shown = blocks(&page).into_iter().filter(|(language, _)| language == "yaml");
        for (_, block) in shown.filter(|(_, block)| is_whole_config(block)) {
            assert!(examples.contains(&block), "{name} shows a config that is no file of docs/examples:\n{block}");
        }
    }
}

#[test]
fn every_example_is_shown_as_it_is() {
    let pages = pages();
    let shown: Vec<String> = pages.values().flat_map(|page| blocks(page)).map(|(_, content)| content).collect();
    for example in files("docs/examples", "yml") {
        assert!(shown.contains(&read(&example)), "no page shows {example} as it is");
    }
    assert!(blocks(&pages["README.md"]).iter().any(|(_, block)| block == &read("docs/examples/first.yml")));
}

#[test]
fn the_example_workflow_takes_what_the_example_config_sends() {
    let config = read("docs/examples/github-actions.yml");
    let workflow = read("docs/examples/workflows/deploy.yml");
    let after = |key: &str| {
        let line = config.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap();
        line.trim_start_matches([' ', '{']).split([':', '}']).next().unwrap().trim().to_owned()
    };
    let (input, correlation) = (after("inputs:"), after("correlation_input:"));
    for name in [&input, &correlation] {
        assert!(workflow.lines().any(|line| line.trim().starts_with(&format!("{name}: {{"))), "{name}");
    }
    let title = workflow.lines().find(|line| line.starts_with("run-name:")).unwrap();
    assert!(title.contains(&format!("${{{{ inputs.{correlation} }}}}")), "{title}");
}

/// What GitHub makes of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|each| each.is_alphanumeric() || matches!(each, ' ' | '-' | '_'));
    kept.map(|each| if each == ' ' { '-' } else { each.to_ascii_lowercase() }).collect()
}

fn anchors(page: &str) -> BTreeSet<String> {
    let headings = without_blocks(page);
    let headings = headings.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

/// A path without `..` in it.
fn plain(path: &Path) -> PathBuf {
    let mut parts: Vec<Component<'_>> = Vec::new();
    for part in path.components() {
        if part == Component::ParentDir {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.into_iter().collect()
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let mut followed = 0;
    for (name, page) in &pages {
        let text = without_blocks(page);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            let (file, wanted) = link.split_once('#').unwrap_or((link, ""));
            let dir = Path::new(name).parent().unwrap();
            let target = if file.is_empty() { PathBuf::from(name) } else { plain(&dir.join(file)) };
            assert!(root().join(&target).exists(), "{name} links to {link}");
            if !wanted.is_empty() {
                let page = &pages[target.to_str().unwrap()];
                assert!(anchors(page).contains(wanted), "{name} links to {link}, which has no such heading");
            }
            followed += 1;
        }
    }
    assert!(followed > 30, "{followed}");
}

/// The texts that stand between these two in a source.
fn between<'a>(source: &'a str, before: &str, after: char) -> Vec<&'a str> {
    source.split(before).skip(1).filter_map(|rest| rest.split(after).next()).collect()
}

/// The words of a page that are marked as code.
fn coded(page: &str) -> String {
    without_blocks(page).split('`').skip(1).step_by(2).collect::<Vec<_>>().join("\n")
}

fn names(text: &str, word: &str) -> bool {
    let of_a_word = |each: char| each.is_ascii_alphanumeric() || each == '_';
    text.match_indices(word).any(|(start, found)| {
        !text[..start].ends_with(of_a_word) && !text[start + found.len()..].starts_with(of_a_word)
    })
}

#[test]
fn every_key_of_the_config_is_described() {
    let sources = [
        ("docs/configuration.md", files("core/src/config", "rs")),
        ("docs/configuration.md", vec!["src/config/decode.rs".to_owned(), "src/http_client/settings.rs".to_owned()]),
        ("docs/configuration.md", vec!["src/heartbeat/settings.rs".to_owned()]),
        ("docs/configuration.md", vec!["src/sources.rs".to_owned()]),
        ("docs/sources/github.md", vec!["src/sources/github.rs".to_owned()]),
        ("docs/sources/github.md", vec!["src/sources/github/workflow_run.rs".to_owned()]),
        ("docs/sources/github.md", vec!["src/sources/mapping.rs".to_owned()]),
        ("docs/sources/gitlab.md", vec!["src/sources/gitlab.rs".to_owned(), "src/sources/mapping.rs".to_owned()]),
        ("docs/sources/gitlab.md", files("src/sources/gitlab", "rs")),
        ("docs/sources/cdevents.md", vec!["src/sources/cdevents.rs".to_owned(), "src/sources/mapping.rs".to_owned()]),
        (
            "docs/paths/cloud-run.md",
            vec!["src/paths/cloud_run.rs".to_owned(), "src/http_client/settings.rs".to_owned()],
        ),
        ("docs/paths/cloud-run.md", vec!["src/paths/cloud_run/access.rs".to_owned()]),
        ("docs/paths/fly.md", vec!["src/paths/fly.rs".to_owned(), "src/http_client/settings.rs".to_owned()]),
        ("docs/paths/command.md", vec!["src/paths/command.rs".to_owned()]),
        ("docs/paths/github-actions.md", vec!["src/paths/github_actions.rs".to_owned()]),
        ("docs/paths/gitlab.md", vec!["src/paths/gitlab.rs".to_owned(), "src/http_client/settings.rs".to_owned()]),
        ("docs/paths/git-revert.md", vec!["src/paths/git_revert.rs".to_owned()]),
        ("docs/paths/http.md", vec!["src/paths/http.rs".to_owned(), "src/paths/http/expect.rs".to_owned()]),
        (
            "docs/paths/kubernetes.md",
            vec!["src/paths/kubernetes.rs".to_owned(), "src/http_client/settings.rs".to_owned()],
        ),
        ("docs/paths/argo-cd.md", vec!["src/paths/argo_cd.rs".to_owned(), "src/http_client/settings.rs".to_owned()]),
        ("docs/trigger-tests.md", vec!["src/trigger_tests/file.rs".to_owned()]),
        ("docs/trigger-tests.md", files("src/trigger_tests/file", "rs")),
        ("docs/pagers/webhook.md", vec!["src/pagers/webhook.rs".to_owned(), "src/http_client/to.rs".to_owned()]),
        ("docs/pagers/pagerduty.md", vec!["src/pagers/pagerduty.rs".to_owned()]),
        ("docs/pagers/slack.md", vec!["src/pagers/slack.rs".to_owned()]),
        ("docs/pagers/ntfy.md", vec!["src/pagers/ntfy.rs".to_owned()]),
        ("docs/announcers/grafana.md", vec!["src/announcers/grafana.rs".to_owned()]),
        ("docs/announcers/github.md", vec!["src/announcers/github.rs".to_owned()]),
        (
            "docs/announcers/cdevents.md",
            vec!["src/announcers/cdevents.rs".to_owned(), "src/http_client/to.rs".to_owned()],
        ),
        ("docs/pagers/email.md", vec!["src/pagers/email.rs".to_owned()]),
        ("docs/pagers/alertmanager.md", vec!["src/pagers/alertmanager.rs".to_owned()]),
    ];
    let mut described = 0;
    for (page, sources) in sources {
        let described_here = coded(&read(page));
        for source in sources {
            let code = read(&source);
            let code = code.split("#[cfg(test)]").next().unwrap();
            let keys = ["optional(\"", "required(\"", "folder(&mut fields, \""];
            for key in keys.iter().flat_map(|call| between(code, call, '"')) {
                assert!(names(&described_here, key), "{page} does not describe `{key}`, which {source} reads");
                described += 1;
            }
        }
    }
    assert!(described > 60, "only {described} keys were found: are they read in another way now?");
}

#[test]
fn every_route_is_described() {
    let source = read("src/http.rs");
    let table = source.split("fn routes()").nth(1).unwrap().split("\n}\n").next().unwrap();
    let page = coded(&read("docs/http-api.md"));
    let routes = between(table, "(\"/", '"');
    assert!(routes.len() > 10, "{routes:?}");
    for route in routes {
        let route = format!("/{}", route.replace("{name}", "NAME").replace("{id}", "ID"));
        let known = page.split(['\n', ',', ' ']).any(|word| word == route);
        assert!(known, "docs/http-api.md does not describe {route}");
    }
}

#[test]
fn every_kind_of_problem_is_described() {
    let source = read("src/http/problem.rs");
    let page = coded(&read("docs/http-api.md"));
    let kinds = between(&source, "(StatusCode::", ')');
    let words: Vec<&str> = kinds.iter().filter_map(|kind| kind.split('"').nth(1)).collect();
    assert!(words.len() > 10, "{words:?}");
    for word in words {
        assert!(page.lines().any(|line| line == word), "docs/http-api.md does not describe {word}");
    }
}

#[test]
fn every_metric_is_described_and_no_other() {
    let source = read("src/metrics.rs") + &read("src/metrics/families.rs");
    let mut registered = BTreeSet::new();
    for (call, unit) in [("registered(", ""), ("registered_seconds(", "_seconds")] {
        for arguments in source.split(call).skip(1) {
            let name = arguments.split('"').nth(1).unwrap();
            if arguments.trim_start().starts_with("registry,") || arguments.starts_with("list,") {
                registered.insert(format!("rollbackd_{name}{unit}"));
            }
        }
    }
    let page = read("docs/operations.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `rollbackd_")?.split_once('`'));
    let described: BTreeSet<String> = rows
        .map(|(name, rest)| {
            let name = format!("rollbackd_{name}");
            let is_counter = rest.trim_start_matches([' ', '|']).starts_with("counter");
            if is_counter { name.strip_suffix("_total").unwrap().to_owned() } else { name }
        })
        .collect();
    assert!(registered.len() > 20, "{registered:?}");
    assert_eq!(described, registered);
}

#[test]
fn every_decision_fits_on_a_card() {
    for file in files("docs/decisions", "md") {
        let lines = read(&file).lines().count();
        assert!(lines <= 12, "{file} has {lines} lines");
    }
}
