//! TOML to a tree.

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue, Error};

use super::tree::{Field, MAX_DEPTH, Node, Value};

/// The tree of a text, or everything that is wrong with its syntax. A tree that is too deep is cut off, in a way that no
/// field of a document accepts.
pub(super) fn parse(text: &str) -> Result<Node<'_>, Vec<Error>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(errors);
    }
    let span = table.span();
    Ok(Node { span, value: map(table.into_inner(), 1) })
}

fn node(value: Spanned<DeValue<'_>>, depth: usize) -> Node<'_> {
    let span = value.span();
    let value = match value.into_inner() {
        DeValue::Array(_) | DeValue::Table(_) if depth > MAX_DEPTH => {
            Value::Other("something nested too deep")
        }
        DeValue::String(text) => Value::Text(text),
        DeValue::Integer(number) => integer(&number),
        DeValue::Float(_) => Value::Other("a number that is not whole"),
        DeValue::Boolean(value) => Value::Bool(value),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(items) => Value::List(items.into_iter().map(|item| node(item, depth + 1)).collect()),
        DeValue::Table(fields) => map(fields, depth),
    };
    Node { span, value }
}

fn map(fields: DeTable<'_>, depth: usize) -> Value<'_> {
    let field = |(name, value): (Spanned<_>, _)| {
        let span = name.span();
        Field { name: name.into_inner(), span, node: node(value, depth + 1) }
    };
    Value::Map(fields.into_iter().map(field).collect())
}

fn integer(number: &DeInteger<'_>) -> Value<'static> {
    i64::from_str_radix(number.as_str(), number.radix())
        .map_or(Value::Other("a number beyond all bounds"), Value::Integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_inline_tables_are_maps_and_know_their_places() {
        let text = "version = 1\n[[groups]]\nname = \"web\"\ningress = [{ ports = 0x50 }]\n";
        let Value::Map(fields) = parse(text).unwrap().value else { panic!("no map") };
        let groups = fields.iter().find(|field| field.name == "groups").unwrap();
        let Value::List(groups) = &groups.node.value else { panic!("no list") };
        let Value::Map(group) = &groups[0].value else { panic!("no map") };
        let ingress = group.iter().find(|field| field.name == "ingress").unwrap();
        assert_eq!(&text[ingress.span.clone()], "ingress");
        let Value::List(rules) = &ingress.node.value else { panic!("no list") };
        let Value::Map(rule) = &rules[0].value else { panic!("no map") };
        assert!(matches!(rule[0].node.value, Value::Integer(80)));
        assert_eq!(&text[rule[0].node.span.clone()], "0x50");
    }

    #[test]
    fn every_mistake_in_the_syntax_is_found() {
        assert_eq!(parse("a = \nb = 1\nc = [\n").unwrap_err().len(), 2);
    }

    #[test]
    fn nesting_has_an_end() {
        let deep = format!("a = {}{}", "[".repeat(60), "]".repeat(60));
        assert!(parse(&deep).unwrap().depth() <= MAX_DEPTH);
        assert!(parse(&format!("a = {}", "[".repeat(100_000))).is_err());
    }
}
