//! By what a pipeline's run is recognised as that of an attempt of ours.
//!
//! Never takes a longer id for the one that it begins with.

/// Whether a title has an attempt's id as a word of its own: `…-a1` is not named by `…-a12`.
pub(crate) fn names(title: &str, id: &str) -> bool {
    let of_a_word = |each: char| each.is_ascii_alphanumeric() || matches!(each, '-' | '_');
    title.match_indices(id).any(|(start, found)| {
        !title[..start].ends_with(of_a_word) && !title[start + found.len()..].starts_with(of_a_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_names_an_attempt_as_a_whole_word_alone() {
        assert!(names("rollback shop-f-1-a1", "shop-f-1-a1"));
        assert!(names("rollback (shop-f-1-a1).", "shop-f-1-a1"));
        for other in ["rollback shop-f-1-a12", "big-shop-f-1-a1", "shop-f-1-a", ""] {
            assert!(!names(other, "shop-f-1-a1"), "{other}");
        }
    }
}
