//! YAML for people: a rule or an entry is a line, everything else a block.

use super::tree::Value;

/// Longer ones do not stay on one line.
const MAX_WIDTH: usize = 110;
/// Words that some reader of YAML takes for something else than a text.
const RESERVED: [&str; 12] =
    ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity"];

/// The text of a document.
pub(super) fn write(document: &Value) -> String {
    let mut text = String::new();
    if let Value::Map(sections) = document {
        for (number, (name, value)) in sections.iter().enumerate() {
            if number > 0 {
                text.push('\n');
            }
            text.push_str(&scalar(name));
            text.push(':');
            write_below(&mut text, value, 2);
        }
    }
    text
}

/// What stands after a key: a scalar or a line beside it, a block on the lines below.
fn write_below(text: &mut String, value: &Value, indent: usize) {
    if let Some(line) = one_line(value, MAX_WIDTH.saturating_sub(indent)) {
        text.push(' ');
        text.push_str(&line);
        text.push('\n');
        return;
    }
    text.push('\n');
    write_block(text, value, indent);
}

fn write_block(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::List(items) => {
            for item in items {
                push_indent(text, indent);
                text.push_str("- ");
                match one_line(item, MAX_WIDTH.saturating_sub(indent + 2)) {
                    Some(line) => {
                        text.push_str(&line);
                        text.push('\n');
                    }
                    None => write_fields(text, item, indent + 2),
                }
            }
        }
        Value::Map(_) | Value::Line(_) => {
            push_indent(text, indent);
            write_fields(text, value, indent);
        }
        Value::Bool(_) | Value::Integer(_) | Value::Text(_) => {}
    }
}

/// The fields of a map whose first one stands where the text ends.
fn write_fields(text: &mut String, map: &Value, indent: usize) {
    let (Value::Map(fields) | Value::Line(fields)) = map else {
        return;
    };
    for (number, (name, value)) in fields.iter().enumerate() {
        if number > 0 {
            push_indent(text, indent);
        }
        text.push_str(&scalar(name));
        text.push(':');
        write_below(text, value, indent + 2);
    }
}

/// A value on one line, if it belongs there and has room.
fn one_line(value: &Value, width: usize) -> Option<String> {
    let line = match value {
        Value::Bool(value) => return Some(value.to_string()),
        Value::Integer(number) => return Some(number.to_string()),
        Value::Text(text) => return Some(scalar(text)),
        Value::List(items) if items.is_empty() => return Some("[]".to_owned()),
        Value::List(items) => {
            let is_plain = |item: &Value| matches!(item, Value::Bool(_) | Value::Integer(_) | Value::Text(_));
            // A list without end is not tried in vain.
            if items.len() > width || !items.iter().all(is_plain) {
                return None;
            }
            let items = items.iter().map(|item| one_line(item, width)).collect::<Option<Vec<_>>>()?;
            format!("[{}]", items.join(", "))
        }
        Value::Line(fields) => {
            let field = |(name, value): &(String, Value)| {
                Some(format!("{}: {}", scalar(name), one_line(value, width)?))
            };
            let fields = fields.iter().map(field).collect::<Option<Vec<_>>>()?;
            format!("{{{}}}", fields.join(", "))
        }
        Value::Map(_) => return None,
    };
    (line.chars().count() <= width).then_some(line)
}

/// A text without quotes where every reader of YAML 1.1 and 1.2 takes it for the same text.
fn scalar(text: &str) -> String {
    let is_plain = text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.ends_with(|last: char| last.is_ascii_alphanumeric() || last == ')')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || " ._-/()+@=:".contains(c))
        && !text.contains(": ")
        && !RESERVED.contains(&text.to_ascii_lowercase().as_str())
        && !looks_like_a_number(text);
    if is_plain { text.to_owned() } else { quoted(text) }
}

/// Numbers, dates, and what YAML 1.1 reads in base 60. Prefixes have a slash, ids a letter before the digits.
fn looks_like_a_number(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_hexdigit() || "._-+:xoTZ ".contains(c))
}

/// In double quotes; what is no letter, digit or ASCII is escaped.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            c if c.is_alphanumeric() => quoted.push(c),
            c => quoted.push_str(&format!("\\U{:08X}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

fn push_indent(text: &mut String, indent: usize) {
    text.extend(std::iter::repeat_n(' ', indent));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_where_a_reader_could_take_them_for_something_else() {
        for plain in ["web", "10.0.0.0/8", "2001:db8::/32", "sg-0123456789abcdef0", "web tier (old)"] {
            assert_eq!(scalar(plain), plain);
        }
        for text in
            ["", "no", "443", "8000-8010", "1e3", "0x1f", "12:30", "::/0", "a: b", "a #b", "a,b", " a", "*a"]
        {
            assert_eq!(scalar(text), format!("\"{text}\""));
        }
        assert_eq!(scalar("büro"), "\"büro\"");
        assert_eq!(scalar("a\"\\\u{feff}"), "\"a\\\"\\\\\\U0000FEFF\"");
    }
}
