//! Tables for people: no borders, upper-case headers, numbers to the right, nothing ever cut off.
//!
//! Written here because it is a page, and every table crate would have to be told to leave all of its features off.

use std::io::{self, Write};

/// Rows under headers.
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    is_begun: bool,
}

/// Rows that are kept, to line up their columns, where a table is written while it is made.
const FULL: usize = 1000;

struct Column {
    header: &'static str,
    is_number: bool,
    /// That of the rows that are written.
    width: usize,
}

impl Table {
    /// A table with these headers. A header that begins with `#` has numbers below it.
    pub(super) fn new(headers: &[&'static str]) -> Self {
        let column = |header: &&'static str| match header.strip_prefix('#') {
            Some(header) => Column { header, is_number: true, width: 0 },
            None => Column { header, is_number: false, width: 0 },
        };
        Self { columns: headers.iter().map(column).collect(), rows: Vec::new(), is_begun: false }
    }

    /// Adds a row, with as many cells as there are headers.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len());
        self.rows.push(cells.into());
    }

    /// Writes and forgets the rows, if there are many.
    pub(super) fn write_if_full(&mut self, to: &mut dyn Write) -> io::Result<()> {
        if self.rows.len() < FULL {
            return Ok(());
        }
        self.write_to(to)?;
        self.is_begun = true;
        let widths = self.widths();
        self.columns.iter_mut().zip(widths).for_each(|(column, width)| column.width = width);
        self.rows.clear();
        Ok(())
    }

    fn widths(&self) -> Vec<usize> {
        let width_of = |(index, column): (usize, &Column)| {
            let cells = self.rows.iter().map(|row| row[index].chars().count());
            cells.chain([column.width, column.header.chars().count()]).max().unwrap_or(0)
        };
        self.columns.iter().enumerate().map(width_of).collect()
    }

    pub(super) fn write_to(&self, to: &mut dyn Write) -> io::Result<()> {
        let headers: Vec<String> = self.columns.iter().map(|column| column.header.to_owned()).collect();
        let lines = (!self.is_begun).then_some(&headers).into_iter().chain(&self.rows);
        let widths = self.widths();
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

    #[test]
    fn a_table_that_is_written_while_it_is_made_has_one_header_and_columns_that_never_grow_narrower() {
        let mut table = Table::new(&["NAME", "#BYTES"]);
        let mut text = Vec::new();
        for number in 0..=FULL {
            let name = if number == 0 { "longer".to_owned() } else { "a".to_owned() };
            table.row([name, number.to_string()]);
            table.write_if_full(&mut text).unwrap();
            assert!(table.rows.len() < FULL);
        }
        table.write_to(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("NAME    BYTES\nlonger      0\na           1\n"), "{text}");
        assert!(text.ends_with("a         999\na        1000\n"), "{text}");
        assert_eq!(text.lines().count(), FULL + 2);
    }
}
