//! The table of the safety rules and their tests: no rule is missing, and every test that it names is there.
//!
//! Never judges what a test shows; only that it can be found by its name.

#![expect(clippy::unwrap_used, reason = "in a test, what can't be read is a failure")]

mod test_names;

use test_names::{named, root, tests};

/// The rules of the design.
const RULES: u32 = 14;

/// Each row of the table: the rule's name, its sentence, and its tests.
fn rows() -> Vec<(String, String, Vec<String>)> {
    let text = std::fs::read_to_string(root().join("docs/safety-rules.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| R"));
    let cells = |row: &str| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    rows.map(|row| match cells(row).as_slice() {
        [rule, sentence, tests] => (rule.clone(), sentence.clone(), named(tests)),
        other => panic!("expected three cells in {other:?}"),
    })
    .collect()
}

#[test]
fn every_rule_is_in_the_table_once_with_its_sentence() {
    let rules: Vec<String> = rows().into_iter().map(|(rule, _, _)| rule).collect();
    let expected: Vec<String> = (1..=RULES).map(|number| format!("R{number}")).collect();
    assert_eq!(rules, expected);
    for (rule, sentence, tests) in rows() {
        assert!(sentence.ends_with('.'), "{rule}: {sentence}");
        assert!(!tests.is_empty(), "{rule}");
    }
}

#[test]
fn every_test_that_the_table_names_is_there() {
    let there = tests();
    for (rule, _, tests) in rows() {
        for name in tests {
            assert!(there.contains(&name), "{rule} names {name}, which is no test");
        }
    }
}

#[test]
fn every_test_that_is_named_after_a_rule_is_in_its_row() {
    let rows = rows();
    for name in tests() {
        let number = name.strip_prefix('r').and_then(|rest| rest.split('_').next()?.parse::<u32>().ok());
        let Some(number) = number else { continue };
        let (rule, _, listed) = &rows[usize::try_from(number).unwrap() - 1];
        assert!(listed.contains(&name), "{name} is not in the row of {rule}");
    }
    for (index, (rule, _, listed)) in rows.iter().enumerate() {
        let own = format!("r{}_", index + 1);
        assert!(listed.iter().any(|name| name.starts_with(&own)), "no test is named after {rule}");
    }
}
