//! Citations: what comments and documents name must be in the repository.
//!
//! Every text file that Git has is read as prose: comments and the text around them, line breaks and comment markers taken
//! out, so that a citation may go over the end of a line. Followed are
//!
//! - paths: words that end in `.md`, links, and, where comments and documents have them between backticks, files and folders,
//!   from the root, from the file that names them, or by the end of a path;
//! - after a page, a heading between quotation marks, a section (`§2.4`), or an anchor;
//! - cases, by the rows of `docs/semantics.md`, and tests that are named after a case.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace;

/// The page that has the cases.
const SEMANTICS: &str = "docs/semantics.md";

/// What is made by building, so that no fresh clone has it.
const BUILT: [&str; 2] = ["target", "fuzz/artifacts"];

/// Names without a folder are files of this project only with these ends; and `.md` wherever it stands.
const SOURCES: [&str; 3] = [".rs", ".scenario", ".console"];

/// A citation that leads nowhere.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Dead {
    file: String,
    line: usize,
    citation: String,
    reason: &'static str,
}

impl fmt::Display for Dead {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, citation, reason } = self;
        write!(formatter, "{file}:{line}: {citation}: {reason}")
    }
}

/// Fails where a citation in the repository leads nowhere, and says which.
pub(crate) fn check() -> Result<()> {
    let repository = Repository::read(workspace::root())?;
    let dead = repository.dead();
    if !dead.is_empty() {
        let lines: Vec<String> = dead.iter().map(Dead::to_string).collect();
        bail!("{} citations lead nowhere:\n{}", dead.len(), lines.join("\n"));
    }
    Ok(())
}

/// The texts of a repository, by their paths, and the paths of everything.
#[derive(Debug, Default)]
struct Repository {
    texts: Vec<(String, String)>,
    /// Files and folders.
    paths: BTreeSet<String>,
}

impl Repository {
    fn read(root: &Path) -> Result<Self> {
        let listing = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .context("git cannot be run")?;
        if !listing.status.success() {
            bail!("git ls-files: {}", String::from_utf8_lossy(&listing.stderr).trim());
        }
        let listing = String::from_utf8(listing.stdout).context("a path is not UTF-8")?;
        let mut repository = Self::default();
        for path in listing.split('\0').filter(|path| root.join(path).is_file()) {
            // Bytes that are no text cite nothing.
            let text = if is_read(path) { std::fs::read_to_string(root.join(path)).ok() } else { None };
            repository.add(path, text);
        }
        Ok(repository)
    }

    fn add(&mut self, path: &str, text: Option<String>) {
        let ancestors = Path::new(path).ancestors().filter_map(Path::to_str);
        self.paths.extend(ancestors.filter(|path| !path.is_empty()).map(str::to_owned));
        self.texts.extend(text.map(|text| (path.to_owned(), text)));
    }

    fn dead(&self) -> BTreeSet<Dead> {
        let cases: BTreeSet<u32> = self.text(SEMANTICS).map(cases_of).unwrap_or_default();
        let mut dead = BTreeSet::new();
        for (file, text) in &self.texts {
            let prose = Prose::of(file, text);
            let mut report = |at: usize, citation: &str, reason| {
                let (line, citation) = (prose.line(at), citation.to_owned());
                dead.insert(Dead { file: file.clone(), line, citation, reason });
            };
            for (at, path) in prose.paths() {
                if self.resolve(file, path).is_none() {
                    report(at, path, "no such file or folder");
                }
            }
            for (at, place) in prose.anchors() {
                if !place.is_in(text) {
                    report(at, place.text(), "no such heading on this page");
                }
            }
            for (at, page, place) in prose.places() {
                // That the page is missing is reported as a path.
                let Some(page) = self.resolve(file, page).and_then(|path| self.text(&path)) else { continue };
                if !place.is_in(page) {
                    report(at, place.text(), "no such heading on that page");
                }
            }
            for (at, number) in prose.cases() {
                if !cases.contains(&number) {
                    report(at, &format!("case {number}"), "no such case in docs/semantics.md");
                }
            }
        }
        dead
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.texts.iter().find(|(file, _)| file == path).map(|(_, text)| text.as_str())
    }

    /// The path that a name in `file` means.
    fn resolve(&self, file: &str, name: &str) -> Option<String> {
        let name = name.trim_end_matches('/');
        if BUILT.iter().any(|built| Path::new(name).starts_with(built)) {
            return Some(name.to_owned());
        }
        let beside = normalised(&Path::new(file).parent()?.join(name));
        if let Some(beside) = beside.filter(|path| self.paths.contains(path)) {
            return Some(beside);
        }
        if self.paths.contains(name) {
            return Some(name.to_owned());
        }
        let end = format!("/{name}");
        self.paths.iter().find(|path| path.ends_with(&end)).cloned()
    }
}

/// Licences and lock files are written by others; corpora and transcripts are data.
fn is_read(path: &str) -> bool {
    let file = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_of_others = file.starts_with("LICENSE") || file == "Cargo.lock";
    !is_of_others && !path.starts_with("fuzz/corpus/") && !path.starts_with("tests/transcripts/")
}

/// Without `.` and `..`; `None` outside the repository.
fn normalised(path: &Path) -> Option<String> {
    let mut parts = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part),
            Component::CurDir => {}
            Component::ParentDir if parts.pop() => {}
            _ => return None,
        }
    }
    parts.to_str().map(str::to_owned)
}

/// The numbers of the rows of the tables of cases.
fn cases_of(page: &str) -> BTreeSet<u32> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    rows.filter_map(|(number, _)| number.parse().ok()).collect()
}

/// Where on a page a citation points.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Heading(String),
    Section(String),
    Anchor(String),
}

impl Place {
    /// The anchor with which `text` begins.
    fn anchor(text: &str) -> Self {
        let is_part = |letter: char| letter.is_alphanumeric() || letter == '-' || letter == '_';
        let length = text.find(|letter| !is_part(letter)).unwrap_or(text.len());
        Self::Anchor(text[..length].to_owned())
    }

    fn text(&self) -> &str {
        let (Self::Heading(text) | Self::Section(text) | Self::Anchor(text)) = self;
        text
    }

    fn is_in(&self, page: &str) -> bool {
        let mut headings =
            page.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
        headings.any(|heading| match self {
            Self::Heading(title) => heading == title,
            Self::Section(number) => {
                heading.split(' ').next().is_some_and(|first| first.trim_end_matches('.') == number)
            }
            Self::Anchor(anchor) => slug(heading) == *anchor,
        })
    }
}

/// The anchor that GitHub gives a heading.
fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter.to_ascii_lowercase() }).collect()
}

/// A file as one line of text, without what marks a comment.
#[derive(Debug, Default)]
struct Prose {
    text: String,
    /// Where each line of the file begins in it.
    lines: Vec<usize>,
    /// What stands between backticks in comments and documents.
    quoted: Vec<(usize, usize)>,
}

impl Prose {
    fn of(file: &str, text: &str) -> Self {
        let mut prose = Self::default();
        let is_code = Path::new(file).extension().is_some_and(|extension| extension == "rs");
        let is_document = Path::new(file).extension().is_some_and(|extension| extension == "md");
        let mut is_fenced = false;
        let mut open = None;
        for line in text.lines() {
            prose.lines.push(prose.text.len());
            let line = line.trim();
            let comment = ["//!", "///", "//", "#"].iter().find_map(|marker| line.strip_prefix(marker));
            let is_comment = if is_document { !is_fenced } else { comment.is_some() };
            let is_fence = line.contains("```");
            is_fenced ^= is_fence && is_document;
            let line = match comment {
                Some(comment) if !is_document => comment.trim_start(),
                _ => line,
            };
            if !is_comment || is_fence || (is_code && comment.is_none()) || line.is_empty() {
                // A backtick pairs within its paragraph.
                open = None;
            } else {
                for (at, _) in line.match_indices('`') {
                    let at = prose.text.len() + at;
                    match open.take() {
                        Some(start) => prose.quoted.push((start, at)),
                        None => open = Some(at + 1),
                    }
                }
            }
            prose.text.push_str(line);
            prose.text.push(' ');
        }
        prose
    }

    /// The line of the file, from 1, for an offset in the text.
    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at)
    }

    /// Paths, with where they stand.
    fn paths(&self) -> Vec<(usize, &str)> {
        let quoted = self.quoted.iter().map(|(start, end)| (*start, &self.text[*start..*end]));
        let mut paths: Vec<_> = quoted.filter(|(_, name)| is_path(name)).collect();
        paths.extend(self.pages().into_iter().map(|(start, end)| (start, &self.text[start..end])));
        paths
    }

    /// Where words that end in `.md` begin and end.
    fn pages(&self) -> Vec<(usize, usize)> {
        let is_part =
            |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '/' | '.' | '_' | '-');
        let ends = self.text.match_indices(".md").map(|(at, end)| at + end.len());
        let whole =
            ends.filter(|end| !self.text[*end..].starts_with(|letter: char| letter.is_alphanumeric()));
        let words = whole.map(|end| {
            let length: usize = self.text[..end].chars().rev().take_while(is_part).map(char::len_utf8).sum();
            (end - length, end)
        });
        // Pages elsewhere have a scheme before them.
        words
            .filter(|(start, end)| end - start > ".md".len() && !self.text[..*start].ends_with(':'))
            .collect()
    }

    /// Places on pages: the page, and where on it.
    fn places(&self) -> Vec<(usize, &str, Place)> {
        let mut places = Vec::new();
        for (start, end) in self.pages() {
            let page = &self.text[start..end];
            let after = &self.text[end..];
            if let Some(anchor) = after.strip_prefix('#') {
                places.push((start, page, Place::anchor(anchor)));
                continue;
            }
            let after = after.trim_start_matches(['`', ')', ',', ' ']);
            // In a string of Rust the quotation marks are escaped.
            if let Some((title, _)) = after
                .trim_start_matches('\\')
                .strip_prefix('"')
                .and_then(|after| after.split_once('"'))
                .filter(|(title, _)| !title.contains(['`', '|']) && after.starts_with(['"', '\\']))
                && self.text[end..].trim_start_matches(['`', ')']).starts_with(',')
            {
                places.push((start, page, Place::Heading(title.trim_end_matches('\\').to_owned())));
            }
            let mut rest = after;
            while let Some(after) = rest.strip_prefix('§') {
                let length = after
                    .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
                    .unwrap_or(after.len());
                let number = after[..length].trim_end_matches('.');
                places.push((start, page, Place::Section(number.to_owned())));
                rest = after[length..].trim_start_matches(" and").trim_start_matches([',', ' ']);
            }
        }
        places
    }

    /// Links to places on the page itself.
    fn anchors(&self) -> impl Iterator<Item = (usize, Place)> {
        let links = self.text.match_indices(concat!("](", "#"));
        links.map(|(at, link)| (at, Place::anchor(&self.text[at + link.len()..])))
    }

    /// Numbers of cases, each end of a range too.
    fn cases(&self) -> Vec<(usize, u32)> {
        let mut cases = Vec::new();
        for (at, word) in self.text.match_indices("ase") {
            let before = &self.text[..at];
            let Some(before) = before.strip_suffix(['c', 'C']) else { continue };
            if before.ends_with(|letter: char| letter.is_alphanumeric()) {
                continue;
            }
            let mut rest = &self.text[at + word.len()..];
            if let Some(number) = rest.strip_prefix('_').filter(|_| before.ends_with("fn ")) {
                cases.extend(leading_number(number).map(|(number, _)| (at, number)));
                continue;
            }
            rest = rest.strip_prefix('s').unwrap_or(rest);
            while let Some((number, after)) = rest.strip_prefix(' ').and_then(leading_number) {
                cases.push((at, number));
                let after = after.strip_prefix(',').unwrap_or(after);
                rest = after
                    .strip_prefix(" and")
                    .or_else(|| after.strip_prefix(" to"))
                    .or_else(|| after.strip_prefix(" or"))
                    .unwrap_or(after);
                if rest.as_ptr() == after.as_ptr()
                    && !self.text[..self.text.len() - rest.len()].ends_with(',')
                {
                    break;
                }
            }
        }
        cases
    }
}

fn leading_number(text: &str) -> Option<(u32, &str)> {
    let length = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..length].parse().ok()?, &text[length..]))
}

/// Whether what stands between backticks names a file or a folder of a project.
fn is_path(name: &str) -> bool {
    let is_plain = name.chars().all(|letter| letter.is_ascii_alphanumeric() || "/._-".contains(letter));
    let folder = name.split('/').next().unwrap_or_default();
    // Such as TARGET, which stands for any of several.
    let is_example =
        name.rsplit('/').next().is_some_and(|last| last.chars().all(|letter| letter.is_ascii_uppercase()));
    let is_file = SOURCES.iter().any(|end| name.len() > end.len() && name.ends_with(end));
    is_plain
        && !is_example
        && !folder.is_empty()
        && (is_file || (name.contains('/') && TREES.contains(&folder)))
}

/// The folders at the root, and those that names leave out before.
const TREES: [&str; 23] = [
    "docs",
    "firewall-common",
    "firewall-ebpf",
    "firewall-userspace",
    "fuzz",
    "tests",
    "xtask",
    "src",
    "benchmarks",
    "abi",
    "apply",
    "bpf",
    "cli",
    "compile",
    "datapath",
    "decide",
    "document",
    "flow",
    "host",
    "interchange",
    "model",
    "packet",
    "store",
];

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str =
        "# Semantics\n\n### 2.4 Fragments\n\n## Full flow table\n\n| 1 | none | DROP |\n| 2 | x | T |\n";

    /// What is dead in a file beside [`PAGE`] as the page of cases, which `@` stands for, as `~` does for a
    /// number sign, so that this file does not cite
    /// what is planted here.
    fn dead(file: &str, text: &str) -> Vec<String> {
        let mut repository = Repository::default();
        repository.add(SEMANTICS, Some(PAGE.to_owned()));
        repository.add("firewall-common/src/abi/flow.rs", None);
        repository.add(file, Some(text.replace('@', SEMANTICS).replace('~', "#")));
        repository.dead().iter().map(Dead::to_string).collect()
    }

    /// Likewise.
    const CASE: &str = "case";

    #[test]
    fn what_is_there_may_be_cited() {
        let text = format!(
            "//! By `@`, {CASE}s 1 and 2, and (`@`,\n//! §2.4), of `abi/flow.rs`.\n\
             // `@`, \"Full flow\n// table\"; https://example.org/gone.m{}; built: `target/debug/sgfw`\n",
            'd'
        );
        assert_eq!(dead("tests/src/lib.rs", &text), Vec::<String>::new());
    }

    #[test]
    fn a_page_that_is_gone_is_found() {
        let text = format!("//! Right.\n//! (design.m{} §4)\n", 'd');
        assert_eq!(
            dead("tests/src/lib.rs", &text),
            [format!("tests/src/lib.rs:2: design.m{}: no such file or folder", 'd')]
        );
        let link = format!("See\n[there](docs/gone.m{}).\n", 'd');
        assert_eq!(dead("README.md", &link).len(), 1);
    }

    #[test]
    fn a_source_that_is_gone_is_found() {
        assert_eq!(
            dead("README.md", "In `abi/gone.rs` and\n`gone.rs`, not `/sys/fs` or `ipv4/x`.\n").len(),
            2
        );
        assert_eq!(dead("a.rs", "// In `abi/gone.rs`.\nlet x = \"`abi/other.rs`\";\n").len(), 1);
    }

    #[test]
    fn a_case_that_is_gone_is_found_over_the_end_of_a_line_and_in_lists() {
        let text = format!("/// `@`, {CASE}\n/// 3.\n");
        assert_eq!(dead("a.rs", &text), [format!("a.rs:1: {CASE} 3: no such {CASE} in docs/semantics.md")]);
        assert_eq!(dead("a.rs", &format!("// {CASE}s 1, 2 and 7, 8 to 9")).len(), 3);
        assert_eq!(dead("a.rs", &format!("fn {CASE}_7_of_something() {{}}")).len(), 1);
        assert_eq!(dead("a.scenario", &format!("{CASE} 1 is\n{CASE} 7 is not\n")).len(), 1);
    }

    #[test]
    fn a_heading_that_is_gone_is_found() {
        assert_eq!(dead("a.rs", "// `@`, \"Gone\".").len(), 1);
        assert_eq!(dead("a.rs", "// (`@`, §2.4 and §2.9)").len(), 1);
        assert_eq!(dead("README.md", "[x](@#full-flow-table) [y](@#gone) [z](~gone)").len(), 2);
        assert_eq!(dead("a.rs", "text.push_str(\"(@, \\\"Gone\\\")\");").len(), 1);
    }

    #[test]
    fn cases_are_numbered_without_a_gap() {
        let page = std::fs::read_to_string(workspace::root().join(SEMANTICS)).unwrap();
        assert!(cases_of(&page).into_iter().eq(1..=170));
    }

    #[test]
    fn every_citation_of_this_repository_leads_somewhere() {
        check().unwrap();
    }
}
