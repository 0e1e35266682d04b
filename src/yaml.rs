//! YAML text as the core's tree of values with their places.
//!
//! Never decides what a scalar means (`1.10` stays a text), and never follows a tag, a merge key or another file.

mod mistakes;

use std::collections::BTreeMap;

pub use mistakes::lines;
use rollbackd_core::config::node::{Node, Place, Problems, Value};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

/// The longest file, in bytes: ten thousand services with an own trigger or two each fit, and what is no config at all (a log
/// named by mistake) is refused before it is read.
pub const LONGEST_BYTES: usize = 8 * 1024 * 1024;

/// The deepest nesting. The reference config needs 6; whoever reads the tree may recurse this far without a thought.
const DEEPEST: usize = 32;

/// The heaviest tree once aliases are expanded, in bytes of text and [`NODE_WEIGHT`] for each node. Eight times the
/// longest file: aliases may repeat a trigger for each service, and can't explode ("billion laughs").
const HEAVIEST: usize = 8 * LONGEST_BYTES;

/// What a node weighs besides its text: about what its place and its enum take.
const NODE_WEIGHT: usize = 16;

/// Reads one document. Duplicate keys and the like are noted and skipped, so that all mistakes show at once; what
/// breaks the structure itself ends the reading.
pub fn parse(text: &str, problems: &mut Problems) -> Option<Node> {
    if text.len() > LONGEST_BYTES {
        let message = format!("the file has {} bytes: expected at most {LONGEST_BYTES}", text.len());
        problems.error(Place { line: 1, column: 1 }, message);
        return None;
    }
    let mut builder = Builder { problems, open: Vec::new(), anchors: BTreeMap::new(), weight: 0, root: None };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.take(event, span).ok()?,
            Err(error) => {
                let innermost = builder.open.last().map(|open| open.place);
                let (place, why) = mistakes::explain(text, place(*error.marker()), error.info(), innermost);
                builder.problems.error(place, format!("not YAML: {why}"));
                return None;
            }
        }
    }
    let root = builder.root.filter(|root| root.value != Value::Null);
    if root.is_none() {
        problems
            .error(Place { line: 1, column: 1 }, "the file is empty: expected a config such as config/rollbackd.yml");
    }
    root
}

/// The structure is broken; why was noted.
struct Broken;

/// A list or mapping that is not closed yet.
struct Open {
    place: Place,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map {
        entries: Vec<(Node, Node)>,
        /// The line of each key that was seen.
        seen: BTreeMap<String, usize>,
        key: Option<Node>,
    },
}

/// A finished node that an alias may repeat, and what repeating it costs.
struct Anchored {
    node: Node,
    weight: usize,
    depth: usize,
}

struct Builder<'p> {
    problems: &'p mut Problems,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Anchored>,
    weight: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Broken> {
        let place = place(span.start);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) if self.root.is_some() => {
                self.broken(place, "a second document (`---`) starts here: expected one per file")
            }
            Event::DocumentStart(_) => Ok(()),
            Event::Alias(anchor) => self.alias(anchor, place),
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), place);
                self.weigh(NODE_WEIGHT + text.len(), place)?;
                let place = self.scalar_place(place, span.is_empty());
                self.add(Node { place, value: scalar(&text, style) }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), place);
                self.begin(Open { place, anchor, content: Content::List(Vec::new()) })
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), place);
                let content = Content::Map { entries: Vec::new(), seen: BTreeMap::new(), key: None };
                self.begin(Open { place, anchor, content })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
        }
    }

    fn begin(&mut self, open: Open) -> Result<(), Broken> {
        self.weigh(NODE_WEIGHT, open.place)?;
        if self.open.len() >= DEEPEST {
            return self.broken(open.place, format!("nested too deep: expected at most {DEEPEST} levels"));
        }
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Broken> {
        let Some(Open { place, anchor, content }) = self.open.pop() else { return Ok(()) };
        let value = match content {
            Content::List(items) => Value::List(items),
            Content::Map { entries, .. } => Value::Map(entries),
        };
        self.add(Node { place, value }, anchor)
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<(), Broken> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            return self.broken(place, "the alias stands inside what it repeats");
        };
        let (node, weight, depth) = (anchored.node.clone(), anchored.weight, anchored.depth);
        if self.open.len() + depth > DEEPEST {
            return self.broken(place, format!("nested too deep with this alias: expected at most {DEEPEST} levels"));
        }
        self.weigh(weight, place)?;
        self.add(node, 0)
    }

    /// Puts a finished node where it belongs: into the list, as a key, as the key's value, or as the document.
    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Broken> {
        if anchor != 0 {
            let (weight, depth) = measure(&node);
            self.anchors.insert(anchor, Anchored { node: node.clone(), weight, depth });
            // The copy that is kept counts as well.
            self.weigh(weight, node.place)?;
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.content {
            Content::List(items) => items.push(node),
            Content::Map { entries, seen, key } => match key.take() {
                None => *key = Some(node),
                Some(name) => add_entry(entries, seen, (name, node), self.problems),
            },
        }
        Ok(())
    }

    fn weigh(&mut self, weight: usize, place: Place) -> Result<(), Broken> {
        self.weight = self.weight.saturating_add(weight);
        if self.weight > HEAVIEST {
            return self.broken(place, "the file is too large once its aliases are expanded: repeat less");
        }
        Ok(())
    }

    /// Where a scalar stands; one that is not there at all (`key:`) stands where its key does.
    fn scalar_place(&self, place: Place, absent: bool) -> Place {
        let key = self.open.last().and_then(|open| match &open.content {
            Content::List(_) => None,
            Content::Map { key, .. } => key.as_ref(),
        });
        key.filter(|_| absent).map_or(place, |key| key.place)
    }

    fn refuse_tag(&mut self, tagged: bool, place: Place) {
        if tagged {
            self.problems.error(place, "tags (`!name`) mean nothing here: leave the tag out");
        }
    }

    fn broken(&mut self, place: Place, message: impl Into<String>) -> Result<(), Broken> {
        self.problems.error(place, message);
        Err(Broken)
    }
}

fn add_entry(
    entries: &mut Vec<(Node, Node)>,
    seen: &mut BTreeMap<String, usize>,
    (name, value): (Node, Node),
    problems: &mut Problems,
) {
    let key = match &name.value {
        Value::Scalar { text, .. } => text.clone(),
        Value::Null | Value::List(_) | Value::Map(_) => {
            problems.error(name.place, format!("expected a plain key, not {}", name.value.kind()));
            return;
        }
    };
    if key == "<<" {
        problems
            .error(name.place, "merge keys (`<<`) are not read: repeat the keys, or use an alias for the whole value");
    } else if let Some(line) = seen.get(&key) {
        problems.error(name.place, format!("the key `{key}` stands here a second time: the first is on line {line}"));
    } else {
        seen.insert(key, name.place.line);
        entries.push((name, value));
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    let quoted = style != ScalarStyle::Plain;
    if !quoted && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return Value::Null;
    }
    Value::Scalar { text: text.to_owned(), quoted }
}

/// The parser counts lines from 1 and columns from 0.
fn place(marker: Marker) -> Place {
    Place { line: marker.line().max(1), column: marker.col() + 1 }
}

/// What a node weighs, and how many levels it has.
fn measure(node: &Node) -> (usize, usize) {
    let inside = |nodes: &mut dyn Iterator<Item = &Node>| {
        nodes.map(measure).fold((NODE_WEIGHT, 1), |(weight, depth), each| (weight + each.0, depth.max(each.1 + 1)))
    };
    match &node.value {
        Value::Null => (NODE_WEIGHT, 0),
        Value::Scalar { text, .. } => (NODE_WEIGHT + text.len(), 0),
        Value::List(items) => inside(&mut items.iter()),
        Value::Map(entries) => inside(&mut entries.iter().flat_map(|(name, value)| [name, value])),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problems_of(text: &str) -> Vec<String> {
        let mut problems = Problems::default();
        let node = parse(text, &mut problems);
        assert!(node.is_some() || problems.any_error());
        problems.0.iter().map(ToString::to_string).collect()
    }

    fn tree(text: &str) -> Node {
        let mut problems = Problems::default();
        let node = parse(text, &mut problems);
        assert_eq!(problems.0, []);
        node.unwrap()
    }

    /// Each scalar with its place, in order.
    fn scalars(node: &Node, into: &mut Vec<(usize, usize, String)>) {
        match &node.value {
            Value::Null => into.push((node.place.line, node.place.column, "null".to_owned())),
            Value::Scalar { text, .. } => into.push((node.place.line, node.place.column, text.clone())),
            Value::List(items) => items.iter().for_each(|item| scalars(item, into)),
            Value::Map(entries) => entries.iter().for_each(|(name, value)| {
                scalars(name, into);
                scalars(value, into);
            }),
        }
    }

    #[test]
    fn keys_and_values_know_their_places() {
        let text = "é: ü\nlist:\n  - {name: \"x\", empty: }\n  - bare:\n    text: |\n      one\n      two\n";
        let mut found = Vec::new();
        scalars(&tree(text), &mut found);
        let expected = [
            (1, 1, "é"),
            (1, 4, "ü"),
            (2, 1, "list"),
            (3, 6, "name"),
            (3, 12, "x"),
            (3, 17, "empty"),
            (3, 17, "null"),
            (4, 5, "bare"),
            (4, 5, "null"),
            (5, 5, "text"),
            (6, 7, "one\ntwo\n"),
        ];
        assert_eq!(found, expected.map(|(line, column, text)| (line, column, text.to_owned())));
    }

    #[test]
    fn a_quoted_word_is_no_null_and_a_plain_one_is() {
        let Value::List(items) = tree("[null, \"null\", ~, '']").value else { panic!("no list") };
        let nulls: Vec<bool> = items.iter().map(|item| item.value == Value::Null).collect();
        assert_eq!(nulls, [true, false, true, false]);
    }

    #[test]
    fn an_alias_repeats_what_its_anchor_names() {
        let node = tree("a: &x {k: v}\nb: *x\n");
        let Value::Map(entries) = node.value else { panic!("no mapping") };
        assert_eq!(entries[0].1, entries[1].1);
    }

    #[test]
    fn every_mistake_of_structure_says_where() {
        let deep = "[".repeat(40);
        let deep_block = (0..40).map(|level| format!("{}k:\n", " ".repeat(level))).collect::<String>();
        let table: [(&str, &str); 14] = [
            ("", "1:1: the file is empty"),
            ("# nothing\n", "1:1: the file is empty"),
            ("---\n~\n", "1:1: the file is empty"),
            ("a: 1\nb: 2\na: 3\n", "3:1: the key `a` stands here a second time: the first is on line 1"),
            ("a: 1\n---\nb: 2\n", "2:1: a second document"),
            ("a: &x 1\nb: {<<: *x}\n", "2:5: merge keys"),
            ("? [a]\n: b\n", "1:3: expected a plain key, not a list"),
            ("a: !!int 3\n", "1:4: tags"),
            ("a: &x [*x]\n", "1:8: the alias stands inside"),
            ("a: *nobody\n", "not YAML"),
            ("a: [1, 2\n", "not YAML"),
            ("a: b\n  c: d\n", "2:4: not YAML"),
            (&deep, "1:33: nested too deep"),
            (&deep_block, "33:33: nested too deep"),
        ];
        for (text, expected) in table {
            let found = problems_of(text);
            assert!(found.iter().any(|problem| problem.contains(expected)), "{text:?}: {found:?}");
        }
    }

    #[test]
    fn a_billion_laughs_are_refused() {
        let mut wide = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
        for level in 1..12 {
            let alias = format!("*a{}, ", level - 1).repeat(10);
            wide.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
        }
        assert!(problems_of(&wide)[0].contains("too large once its aliases"));
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), "*a, ".repeat(1000));
        assert!(problems_of(&long)[0].contains("too large once its aliases"));
        let tower: String = (1..60)
            .fold("a0: &a0 [x]\n".to_owned(), |text, level| format!("{text}a{level}: &a{level} [*a{}]\n", level - 1));
        assert!(problems_of(&tower)[0].contains("nested too deep with this alias"));
    }

    #[test]
    fn a_file_that_is_too_long_is_refused_before_it_is_read() {
        assert!(problems_of(&"#".repeat(LONGEST_BYTES + 1))[0].contains("8388609 bytes"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn no_text_panics(text in "[ -~\\n\\té]{0,80}") {
            problems_of(&text);
        }

        #[test]
        fn no_mixture_of_yaml_signs_panics(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "-", " ", "  ", "\n", ":", ": ", "a", "&x ", "*x", "{", "}", "[", "]", ",", "|", ">", "|2", "\"",
                    "'", "#", "!", "!!str ", "? ", "<<", "---\n", "...\n", "%YAML 1.2\n", "\t", "\r", "é", "\\", "~",
                    "\u{feff}", "\0", "\u{2028}", "%TAG ! x\n",
                ]),
                0..40,
            )
        ) {
            problems_of(&pieces.concat());
        }
    }
}
