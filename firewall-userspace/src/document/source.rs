//! Where documents come from: files, directories of files, standard input.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::problem::{Problem, ProblemKind};

/// What is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// A file, or a directory, of which every *.yaml, *.yml, *.toml and *.json is read, in the order of the names.
    Path(PathBuf),
}

/// As a command line names it: `-` is standard input.
impl From<PathBuf> for Input {
    fn from(path: PathBuf) -> Self {
        if path.as_os_str() == "-" { Self::Stdin } else { Self::Path(path) }
    }
}

/// A text that was read.
#[derive(Debug)]
pub(super) struct Source {
    /// What messages call it.
    pub(super) name: String,
    pub(super) text: String,
    pub(super) language: Language,
}

/// How a text is to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    /// And JSON, which is YAML.
    Yaml,
    Toml,
}

/// Everything that could be read, and what could not.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) sources: Vec<Source>,
    pub(super) problems: Vec<Problem>,
}

/// Reads the texts of all inputs.
pub(super) fn load(inputs: &[Input]) -> Loaded {
    let mut loaded = Loaded::default();
    for input in inputs {
        match input {
            Input::Stdin => loaded.add("<stdin>".to_owned(), None, read_stdin()),
            Input::Path(path) if path.is_dir() => loaded.add_directory(path),
            Input::Path(path) => loaded.add_file(path),
        }
    }
    loaded
}

impl Loaded {
    fn add_directory(&mut self, directory: &Path) {
        let name = directory.display().to_string();
        match files_of(directory) {
            Ok(files) if files.is_empty() => self.add_unreadable(name, ProblemKind::EmptyDirectory),
            Ok(files) => files.iter().for_each(|file| self.add_file(file)),
            Err(error) => self.add_unreadable(name, ProblemKind::Unreadable(error)),
        }
    }

    fn add_file(&mut self, path: &Path) {
        let language = match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => Some(Language::Toml),
            Some("yaml" | "yml" | "json") => Some(Language::Yaml),
            _ => None,
        };
        self.add(path.display().to_string(), language, fs::read(path));
    }

    fn add(&mut self, name: String, language: Option<Language>, bytes: io::Result<Vec<u8>>) {
        let text = bytes.map_err(ProblemKind::Unreadable).and_then(|bytes| {
            String::from_utf8(bytes).map_err(|error| ProblemKind::NotUtf8(error.utf8_error()))
        });
        match text {
            Ok(text) => {
                // A mark that some editors of other systems put first.
                let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
                let language = language.unwrap_or_else(|| guess_language(&text));
                self.sources.push(Source { name, text, language });
            }
            Err(kind) => self.add_unreadable(name, kind),
        }
    }

    fn add_unreadable(&mut self, name: String, kind: ProblemKind) {
        self.problems.push(Problem::of_source(self.sources.len(), kind));
        self.sources.push(Source { name, text: String::new(), language: Language::Yaml });
    }
}

fn read_stdin() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn files_of(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        // What begins with a dot is an editor's.
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if matches!(extension, Some("yaml" | "yml" | "toml" | "json")) && !is_hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// What has no name that tells: the first line with content is `key = …` or a table in TOML, and nothing else is.
fn guess_language(text: &str) -> Language {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let Some(line) = lines.next() else {
        return Language::Yaml;
    };
    let assigns = line.split_once('=').is_some_and(|(key, _)| {
        let key = key.trim_end();
        !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-.\"'".contains(c))
    });
    let is_table = line.starts_with('[') && line.trim_start_matches('[').starts_with(char::is_alphabetic);
    if assigns || is_table { Language::Toml } else { Language::Yaml }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_gives_its_policy_files_in_the_order_of_their_names() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.toml", "a.yaml", "c.json", "README.md", "d.yml", ".#e.yaml"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let loaded = load(&[Input::Path(directory.path().to_owned())]);
        let names: Vec<_> =
            loaded.sources.iter().map(|source| source.name.rsplit('/').next().unwrap().to_owned()).collect();
        assert_eq!(names, ["a.yaml", "b.toml", "c.json", "d.yml"]);
        assert_eq!(loaded.sources[1].language, Language::Toml);
    }

    #[test]
    fn toml_is_recognised_by_its_first_line() {
        for toml in ["version = 1", "# x\n\n[[groups]]\nname = 'a'", "a.b=1"] {
            assert_eq!(guess_language(toml), Language::Toml, "{toml}");
        }
        for yaml in ["version: 1", "{\"version\": 1}", "---\nversion: 1", "", "description: a = b", "- a = b"]
        {
            assert_eq!(guess_language(yaml), Language::Yaml, "{yaml}");
        }
    }
}
