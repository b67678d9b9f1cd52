//! What README.md shows is what the programs print.

use std::process::Command;

use crate::support::privileged;

const README: &str = include_str!("../../../README.md");

#[test]
fn the_transcript_of_the_readme_is_part_of_the_demonstration() {
    privileged(compare);
}

fn compare() {
    let demo = Command::new(env!("CARGO_BIN_EXE_demo")).output().unwrap();
    let printed = String::from_utf8(demo.stdout).unwrap();
    assert!(demo.status.success(), "{printed}{}", String::from_utf8_lossy(&demo.stderr));
    expect_transcript(0, &printed);
}

/// Checks that the lines of a transcript in README.md, counted from 0, were printed in this order.
#[track_caller]
pub(crate) fn expect_transcript(number: usize, printed: &str) {
    let lines: Vec<String> = printed.lines().map(without_ids).collect();
    let transcripts = README.split("```console\n").skip(1);
    let transcript = transcripts.map(|rest| rest.split("```").next().unwrap()).nth(number);
    let transcript = transcript.unwrap_or_else(|| panic!("README.md lacks this transcript:\n{printed}"));
    let mut from = 0;
    for line in transcript.lines().filter(|line| !line.is_empty()).map(without_ids) {
        let found = lines[from..].iter().position(|printed| *printed == line);
        let found = found.unwrap_or_else(|| panic!("not printed, or not in this order: {line}\n{printed}"));
        from += found + 1;
    }
    assert!(from > 0, "a transcript of README.md is empty");
}

/// Identifiers are new in each run: `sg-04e7af16594bd2a3c` becomes `sg-*`.
fn without_ids(line: &str) -> String {
    let is_id = |word: &str| {
        let digits = ["sg-", "sgr-", "eni-"].iter().find_map(|prefix| word.strip_prefix(prefix));
        digits.is_some_and(|digits| digits.len() == 17 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let word = |word: &str| match word.split_once('-') {
        Some((prefix, _)) if is_id(word) => format!("{prefix}-*"),
        _ => word.to_owned(),
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}
