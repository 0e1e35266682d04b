//! The generated part of a page that people write besides: what stands between two comments.
//!
//! Never touches anything outside them.

/// The line before the generated part.
pub const BEGIN: &str = "<!-- rollbackd runbook: begin -->";

/// The line after it.
pub const END: &str = "<!-- rollbackd runbook: end -->";

/// A page in which it is not clear where the generated part goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// It has neither.
    #[error(
        "it has no place for the runbook: add these two lines where it should stand, and run this again:\n{BEGIN}\n{END}"
    )]
    NoMarkers,
    /// One is missing, stands twice, or they stand in the wrong order.
    #[error("expected one line {BEGIN} and after it one line {END}, each once and alone on its line")]
    Unclear,
}

/// The page with this text between its markers.
///
/// # Errors
/// It is not clear where that is.
pub fn put_between(page: &str, markdown: &str) -> Result<String, NoPlace> {
    let (before, _, after) = split(page)?;
    let ends = if page.contains("\r\n") { "\r\n" } else { "\n" };
    let between = format!("\n{}\n", markdown.trim_end()).replace('\n', ends);
    Ok(format!("{before}{between}{after}"))
}

/// The first line that differs from what should stand between the markers: its number in the page, counted from 1, and
/// what should stand there. `None` where the page is up to date.
///
/// # Errors
/// It is not clear where the generated part is.
pub fn compare(page: &str, markdown: &str) -> Result<Option<(usize, String)>, NoPlace> {
    let wanted = put_between(page, markdown)?;
    if wanted == page {
        return Ok(None);
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (wanted, found) = (lines(&wanted), lines(page));
    let same = wanted.iter().zip(&found).take_while(|(wanted, found)| wanted == found).count();
    Ok(Some((same + 1, wanted.get(same).cloned().unwrap_or_default())))
}

/// What stands up to the end of the line of the first marker, between the two, and from the second on.
fn split(page: &str) -> Result<(&str, &str, &str), NoPlace> {
    let mut begins = Vec::new();
    let mut ends = Vec::new();
    let mut offset = 0;
    for line in page.split_inclusive('\n') {
        match line.trim() {
            BEGIN => begins.push(offset + line.len()),
            END => ends.push(offset),
            _ => {}
        }
        offset += line.len();
    }
    match (begins.as_slice(), ends.as_slice()) {
        ([], []) => Err(NoPlace::NoMarkers),
        ([begin], [end]) if begin <= end => {
            let parts = (page.get(..*begin), page.get(*begin..*end), page.get(*end..));
            let (Some(before), Some(between), Some(after)) = parts else { return Err(NoPlace::Unclear) };
            Ok((before, between, after))
        }
        (_, _) => Err(NoPlace::Unclear),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_markers_changes() {
        let page = format!("# Ours\n\n{BEGIN}\nold\n{END}\n\nours too");
        let new = put_between(&page, "new\n\nlines\n\n").unwrap();
        assert_eq!(new, format!("# Ours\n\n{BEGIN}\n\nnew\n\nlines\n{END}\n\nours too"));
        assert_eq!(put_between(&new, "new\n\nlines").unwrap(), new, "once more changes nothing");
        assert_eq!(compare(&new, "new\n\nlines\n"), Ok(None));
        assert_eq!(compare(&new, "new\n\nwords\n"), Ok(Some((7, "words".to_owned()))));
    }

    #[test]
    fn line_ends_stay_as_the_page_has_them() {
        let page = format!("a\r\n{BEGIN}\r\n{END}\r\nb\r\n");
        let new = put_between(&page, "x\ny\n").unwrap();
        assert_eq!(new, format!("a\r\n{BEGIN}\r\n\r\nx\r\ny\r\n{END}\r\nb\r\n"));
        assert_eq!(compare(&new, "x\ny\n"), Ok(None));
    }

    #[test]
    fn where_it_goes_must_be_clear() {
        assert_eq!(put_between("# Ours\n", "x"), Err(NoPlace::NoMarkers));
        for unclear in [
            format!("{BEGIN}\n"),
            format!("{END}\n{BEGIN}\n"),
            format!("{BEGIN}\n{BEGIN}\n{END}\n"),
            format!("{BEGIN}\n{END}\n{END}\n"),
        ] {
            assert_eq!(put_between(&unclear, "x"), Err(NoPlace::Unclear), "{unclear}");
        }
        assert_eq!(put_between(&format!("say {BEGIN}\nand {END}\n"), "x"), Err(NoPlace::NoMarkers), "in a sentence");
    }
}
