//! A table with aligned columns.

use super::output::{Output, Paint};

/// One cell: a text, and how it stands out.
pub(super) type Cell = (String, Paint);

/// A cell that does not stand out.
pub(super) fn plain(text: impl Into<String>) -> Cell {
    (text.into(), Paint::Plain)
}

/// The lines of a table, each behind this indent. The last column is not padded.
pub(super) fn table(output: &Output, indent: &str, heading: &[&str], rows: &[Vec<Cell>]) -> String {
    let heading: Vec<Cell> = heading.iter().map(|text| ((*text).to_owned(), Paint::Heading)).collect();
    let lines: Vec<&Vec<Cell>> = std::iter::once(&heading).chain(rows).collect();
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|row| row.get(column));
        cells.map(|(text, _)| text.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    lines.iter().map(|row| line(output, indent, row, &widths)).collect()
}

fn line(output: &Output, indent: &str, row: &[Cell], widths: &[usize]) -> String {
    let mut line = indent.to_owned();
    for ((text, paint), width) in row.iter().zip(widths) {
        let padding = width.saturating_sub(text.chars().count()) + 2;
        line.push_str(&output.paint(*paint, text));
        line.push_str(&" ".repeat(padding));
    }
    line.trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [vec![plain("error-rate"), plain("7%")], vec![plain("é"), plain("1")]];
        let text = table(&Output::new(false), "  ", &["NAME", "VALUE"], &rows);
        assert_eq!(text, "  NAME        VALUE\n  error-rate  7%\n  é           1\n");
    }
}
