//! What holds for any text: it is read or refused, and nothing panics.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{REFERENCE, said};

/// Every scalar, key and sign of the reference config, and some that are in no config.
fn pieces() -> Vec<String> {
    let mut pieces: BTreeSet<String> = BTreeSet::new();
    for piece in REFERENCE.split_inclusive(|each: char| "{}[],: \n".contains(each)) {
        pieces.insert(piece.to_owned());
    }
    pieces.extend(["\0", "é", "&a ", "*a", "{{", "}}", "99999999999999999999d", "-1", "1e999"].map(str::to_owned));
    pieces.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_text_panics(text in any::<String>()) {
        said(&text);
    }

    #[test]
    fn the_reference_with_a_piece_replaced_never_panics(
        at in 0..REFERENCE.len(),
        length in 0usize..40,
        pieces in prop::collection::vec(prop::sample::select(pieces()), 0..4),
    ) {
        let start = REFERENCE.floor_char_boundary(at);
        let end = REFERENCE.ceil_char_boundary((start + length).min(REFERENCE.len()));
        said(&format!("{}{}{}", &REFERENCE[..start], pieces.concat(), &REFERENCE[end..]));
    }

    #[test]
    fn the_reference_with_two_lines_swapped_or_left_out_never_panics(one in 0usize..90, other in 0usize..90, keep in any::<bool>()) {
        let mut lines: Vec<&str> = REFERENCE.lines().collect();
        let (one, other) = (one % lines.len(), other % lines.len());
        lines.swap(one, other);
        if !keep {
            lines.remove(one);
        }
        said(&lines.join("\n"));
    }
}
