//! Tables for people: no borders, upper-case headers, numbers to the right, nothing ever cut off.
//!
//! Written here because it is a page, and every table crate would have to be told to leave all of its features off.

use std::io::{self, Write};

/// Rows under headers.
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

struct Column {
    header: &'static str,
    is_number: bool,
}

impl Table {
    /// A table with these headers. A header that begins with `#` has numbers below it.
    pub(super) fn new(headers: &[&'static str]) -> Self {
        let column = |header: &&'static str| match header.strip_prefix('#') {
            Some(header) => Column { header, is_number: true },
            None => Column { header, is_number: false },
        };
        Self { columns: headers.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row, with as many cells as there are headers.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len());
        self.rows.push(cells.into());
    }

    pub(super) fn write_to(&self, to: &mut dyn Write) -> io::Result<()> {
        let headers: Vec<String> = self.columns.iter().map(|column| column.header.to_owned()).collect();
        let lines: Vec<&Vec<String>> = std::iter::once(&headers).chain(&self.rows).collect();
        let width_of =
            |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width_of).collect();
        for line in lines {
            let mut text = String::new();
            for ((cell, column), &width) in line.iter().zip(&self.columns).zip(&widths) {
                let padded =
                    if column.is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
                text.push_str(&padded);
                text.push_str("  ");
            }
            writeln!(to, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_to_the_right() {
        let mut table = Table::new(&["NAME", "#BYTES", "TEXT"]);
        table.row(["a".into(), "7".into(), "x y".into()]);
        table.row(["longer".into(), "1234567".into(), String::new()]);
        let mut text = Vec::new();
        table.write_to(&mut text).unwrap();
        let expected = "NAME      BYTES  TEXT\na             7  x y\nlonger  1234567\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
