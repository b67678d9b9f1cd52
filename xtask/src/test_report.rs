//! What nextest says about a run: the JUnit file that `.config/nextest.toml` asks for.

use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, Result};
use roxmltree::Document;

use crate::{steps, workspace};

/// The tests of a run.
#[derive(Default)]
pub(crate) struct Report {
    /// Those that failed.
    pub(crate) failed: Vec<FailedTest>,
    times: Vec<(String, Duration)>,
}

/// A test that failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FailedTest {
    /// Its binary.
    pub(crate) binary: String,
    /// Its name.
    pub(crate) name: String,
    /// What the same chance is had by again (`SGFW_SEED=7`), if it has said so.
    pub(crate) seed: Option<String>,
}

impl Report {
    /// Removes that of the run before, lest it be taken for this one's.
    pub(crate) fn forget() -> Result<()> {
        match fs::remove_file(path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path().display()))
            }
            _ => Ok(()),
        }
    }

    /// Reads that of the last run; an empty one if no test ran.
    pub(crate) fn read() -> Result<Self> {
        match fs::read_to_string(path()) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path().display())),
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let document = Document::parse(text).context("nextest's report is not XML")?;
        let mut report = Self::default();
        for test in document.descendants().filter(|node| node.has_tag_name("testcase")) {
            let text = |name| test.attribute(name).unwrap_or_default();
            let (binary, name) = (text("classname"), text("name"));
            let seconds = text("time").parse().unwrap_or(0.0);
            let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            report.times.push((format!("{binary} {name}"), time));
            if test.children().any(|child| child.has_tag_name("failure") || child.has_tag_name("error")) {
                let seed = seed_in(&test);
                report.failed.push(FailedTest { binary: binary.to_owned(), name: name.to_owned(), seed });
            }
        }
        Ok(report)
    }

    /// Prints the slowest tests.
    pub(crate) fn show(&mut self) {
        if !self.times.is_empty() {
            eprintln!("\nthe slowest of {} tests:", self.times.len());
            steps::show_slowest(&mut self.times);
        }
    }
}

/// The seed that a test has printed: see `firewall_tests::seed`.
fn seed_in(test: &roxmltree::Node<'_, '_>) -> Option<String> {
    const VARIABLE: &str = "SGFW_SEED=";
    let texts = test.descendants().filter_map(|node| node.text());
    let digits = |text: &str| {
        let (_, after) = text.split_once(VARIABLE)?;
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        (!digits.is_empty()).then_some(digits)
    };
    texts.into_iter().find_map(digits).map(|digits| format!("{VARIABLE}{digits}"))
}

fn path() -> PathBuf {
    workspace::target().join("nextest/default/junit.xml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_failures_are_read() {
        let text = r#"<testsuites><testsuite name="t"><testcase name="a::b" classname="t::netns" time="1.5"/>
            <testcase name="c" classname="t::prog" time="0.25"><failure type="test failure"/></testcase>
            <testcase name="d" classname="t::prog" time="0.25"><failure type="test failure"/>
            <system-out>running 1 test
            SGFW_SEED=42
            test d ... FAILED</system-out></testcase>
            </testsuite></testsuites>"#;
        let report = Report::parse(text).unwrap();
        let failed = |name: &str, seed: Option<&str>| FailedTest {
            binary: "t::prog".to_owned(),
            name: name.to_owned(),
            seed: seed.map(str::to_owned),
        };
        assert_eq!(report.failed, [failed("c", None), failed("d", Some("SGFW_SEED=42"))]);
        assert_eq!(report.times[0], ("t::netns a::b".to_owned(), Duration::from_millis(1500)));
    }
}
