//! Walls: no room of user space imports what ARCHITECTURE.md does not allow it, and `operations` is in floors.
//!
//! The tables of that page are the input. Code of tests is not looked at: it may use what it is compared with.
//!
//! And no file of `src` is longer than a reader takes in at once, but for its tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result, bail};

use crate::workspace;

const PAGE: &str = "ARCHITECTURE.md";
const SOURCES: &str = "firewall-userspace/src";
/// Those whose files have a greatest length.
const SOURCES_OF_ALL: [&str; 5] =
    [SOURCES, "firewall-common/src", "firewall-ebpf/src", "tests/src", "xtask/src"];
/// Lines of a file.
const LONGEST: usize = 450;
/// Files that are longer still, and none may become so.
const KNOWN: [(&str, usize); 1] = [("firewall-common/src/flow_table/life/mod.rs", 505)];
/// The room whose files are floors.
const FLOORED: &str = "operations";
/// How the tables begin.
const ROOMS: &str = "| room | may use |";
const FLOORS: &str = "| floor | what it knows |";

/// Fails where a file imports what it may not, and says which.
pub(crate) fn check() -> Result<()> {
    let page = fs::read_to_string(workspace::root().join(PAGE)).context(PAGE)?;
    let files = files(&workspace::root().join(SOURCES)).context(SOURCES)?;
    let mut faults = faults(&page, &files)?;
    for sources in SOURCES_OF_ALL {
        let files = self::files(&workspace::root().join(sources)).context(sources)?;
        faults.extend(too_long(sources, &files));
    }
    if !faults.is_empty() {
        bail!("{} files go through a wall:\n{}", faults.len(), faults.join("\n"));
    }
    Ok(())
}

/// The files that have more lines than they may, up to their tests.
fn too_long(sources: &str, files: &Files) -> Vec<String> {
    let lines =
        |text: &str| text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().lines().count();
    let code = files.iter().filter(|(path, _)| !is_test(path));
    let fault = |(path, text): (&PathBuf, &String)| {
        let (path, lines) = (format!("{sources}/{}", path.display()), lines(text));
        let known = KNOWN.iter().find(|(known, _)| *known == path).map_or(LONGEST, |(_, known)| *known);
        (lines > known).then(|| format!("{path}: {lines} lines are more than {known}"))
    };
    code.filter_map(fault).collect()
}

/// Code by the path of its file under the sources.
type Files = BTreeMap<PathBuf, String>;

fn files(directory: &Path) -> io::Result<Files> {
    let mut files = Files::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs")
                && let Ok(name) = path.strip_prefix(directory)
            {
                files.insert(name.to_owned(), fs::read_to_string(&path)?);
            }
        }
    }
    Ok(files)
}

fn faults(page: &str, files: &Files) -> Result<Vec<String>> {
    let allowed: BTreeMap<String, BTreeSet<String>> = rows(page, ROOMS)?
        .into_iter()
        .map(|(room, uses)| (room, quoted(&uses).map(str::to_owned).collect()))
        .collect();
    let floors: Vec<String> = rows(page, FLOORS)?.into_iter().map(|(floor, _)| floor).collect();
    let exported = exports(files.get(&Path::new(FLOORED).join("mod.rs")).map_or("", String::as_str));
    let mut faults = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| !is_test(path)) {
        let Some(room) = first(path).filter(|_| path.components().count() > 1) else {
            continue;
        };
        let Some(uses) = allowed.get(room) else {
            faults.push(format!("{}: the room {room} is not in the table of {PAGE}", path.display()));
            continue;
        };
        let code = production(text);
        for used in after(&code, "crate::").filter(|used| *used != room && allowed.contains_key(*used)) {
            if !uses.contains(used) {
                faults.push(format!("{}: {room} may not use {used}", path.display()));
            }
        }
        if room == FLOORED && path.components().count() > 1 {
            faults.extend(floor_faults(path, &code, &floors, &exported));
        }
    }
    Ok(faults)
}

/// What a file of a floor uses of floors that stand below it.
fn floor_faults(
    path: &Path,
    code: &str,
    floors: &[String],
    exported: &BTreeMap<String, String>,
) -> Vec<String> {
    let inside = path.strip_prefix(FLOORED).unwrap_or(path);
    let own = first(inside).map(|name| name.trim_end_matches(".rs").to_owned()).unwrap_or_default();
    if own == "mod" {
        return Vec::new();
    }
    let position = |floor: &str| floors.iter().position(|known| known == floor);
    let Some(standing) = position(&own) else {
        return vec![format!("{}: the floor {own} is not in the table of {PAGE}", path.display())];
    };
    let is_file = inside.components().count() == 1;
    let mut used: Vec<&str> = after(code, "crate::operations::").collect();
    if is_file {
        used.extend(after(code, "super::"));
    }
    let floor_of = |name: &str| exported.get(name).map_or(name.to_owned(), Clone::clone);
    let used: BTreeSet<String> = used.into_iter().map(floor_of).collect();
    let below = used.into_iter().filter(|floor| position(floor).is_some_and(|other| other > standing));
    below
        .map(|floor| format!("{}: {own} may not use {floor}, which stands below it", path.display()))
        .collect()
}

/// The floors by the names that the room exports of them.
fn exports(module: &str) -> BTreeMap<String, String> {
    let statements = module.split("pub use ").skip(1).filter_map(|rest| rest.split_once(';'));
    let named = statements.filter_map(|(statement, _)| {
        let (floor, names) = statement.split_once("::")?;
        let names = names.trim_matches(['{', '}']).split(',').map(|name| name.trim().to_owned());
        Some(names.map(move |name| (name, floor.to_owned())))
    });
    named.flatten().filter(|(name, _)| !name.is_empty()).collect()
}

/// The first names after a prefix, also those of a list in braces.
fn after<'c>(code: &'c str, prefix: &str) -> impl Iterator<Item = &'c str> {
    let name = |text: &'c str| {
        let end = text.find(|character: char| !character.is_alphanumeric() && character != '_');
        &text[..end.unwrap_or(text.len())]
    };
    let starts: Vec<&str> = code.match_indices(prefix).map(|(at, _)| &code[at + prefix.len()..]).collect();
    starts.into_iter().flat_map(move |rest| {
        let list = rest.strip_prefix('{').and_then(|list| list.split_once("};"));
        let names: Vec<&str> = match list {
            Some((list, _)) => list.split(',').map(|part| name(part.trim())).collect(),
            None => vec![name(rest)],
        };
        names.into_iter().filter(|name| !name.is_empty())
    })
}

/// Without comments, and up to the tests.
fn production(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

fn is_test(path: &Path) -> bool {
    let names = path.components().filter_map(|part| part.as_os_str().to_str());
    names.into_iter().any(|name| ["tests", "tests.rs", "transcripts", "strategy.rs"].contains(&name))
}

fn first(path: &Path) -> Option<&str> {
    path.components().next()?.as_os_str().to_str()
}

/// The rows of a table: the name between backticks that each begins with, without a slash, and the next column.
fn rows(page: &str, header: &str) -> Result<Vec<(String, String)>> {
    let (_, table) = page.split_once(header).with_context(|| format!("{PAGE} has no table `{header}`"))?;
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let mut columns = line.split('|').skip(1);
        let (name, uses) = (columns.next()?, columns.next()?);
        Some((quoted(name).next()?.trim_end_matches('/').to_owned(), uses.to_owned()))
    };
    Ok(rows.filter_map(row).collect())
}

fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE_OF_TWO: &str = "\
| room | may use |
| --- | --- |
| `model` | |
| `operations` | `model` |

| floor | what it knows |
| --- | --- |
| `policy/` | the policy |
| `publish` | what is in force |
";

    fn found(path: &str, text: &str) -> Vec<String> {
        let module = ("operations/mod.rs".into(), "pub use publish::{Published};".to_owned());
        faults(PAGE_OF_TWO, &Files::from([module, (path.into(), text.to_owned())])).unwrap()
    }

    #[test]
    fn what_is_allowed_is_no_fault() {
        assert_eq!(found("operations/publish.rs", "use super::policy::of;\nuse crate::model::Id;"), [""; 0]);
        assert_eq!(
            found(
                "model/id.rs",
                "// crate::operations is not used\n#[cfg(test)]\nmod tests {\n    use crate::operations::X;"
            ),
            [""; 0]
        );
    }

    #[test]
    fn a_planted_import_is_found() {
        for import in
            ["use crate::operations::X;", "use crate::{operations};", "let x = crate::operations::X;"]
        {
            assert_eq!(
                found("model/id.rs", import),
                ["model/id.rs: model may not use operations"],
                "{import}"
            );
        }
    }

    #[test]
    fn a_planted_circle_is_found_under_a_name_that_is_exported_too() {
        for import in
            ["use super::publish::publish;", "use super::{Published};", "use crate::operations::Published;"]
        {
            let found = found("operations/policy.rs", import);
            assert!(
                found.iter().any(|fault| fault.contains("policy may not use publish")),
                "{import}: {found:?}"
            );
        }
    }

    #[test]
    fn a_file_that_is_too_long_is_found_and_its_tests_do_not_count() {
        let of = |text: String| too_long("src", &Files::from([("model/id.rs".into(), text)]));
        let tests = "#[cfg(test)]\nmod tests {\n".to_owned() + &"\n".repeat(LONGEST);
        assert_eq!(of("\n".repeat(LONGEST) + &tests), [""; 0]);
        assert_eq!(of("\n".repeat(LONGEST + 1)), ["src/model/id.rs: 451 lines are more than 450"]);
    }

    #[test]
    fn a_room_and_a_floor_that_are_in_no_table_are_found() {
        assert_eq!(found("attic/mod.rs", "").len(), 1);
        assert_eq!(found("operations/attic.rs", "").len(), 1);
    }

    #[test]
    fn the_walls_of_this_repository_hold() {
        check().unwrap();
    }
}
