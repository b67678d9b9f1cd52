//! Whether golden transcripts show every command, the examples of its help, and every error.

mod rendered;

use std::fmt::Write as _;

use clap::CommandFactory;
use snapbox::{Assert, Data};

use super::Cli;
use super::error::CliError;
use super::import::ImportFailure;
use crate::document::WriteError;
use crate::interchange::ImportError;
use crate::model::ModelError;
use crate::operations::CompileError;
use crate::operations::DatapathError;
use crate::operations::HostError;
use crate::operations::OperationError;
use crate::operations::StoreError;
use crate::plan::{PlanError, SavedPlanError};
use crate::transcripts::Evidence::{self, Rendered, Shown, Wraps};
use crate::transcripts::{Step, check_evidence, directory, evidence, of_command};

#[test]
fn every_command_has_examples() {
    for command in commands().iter().filter(|command| !command.has_subcommands) {
        assert!(!command.examples.is_empty(), "`sgfw {}` has none", command.path.join(" "));
    }
}

#[test]
fn every_command_succeeds_in_a_transcript_for_people_and_for_programs() {
    for command in commands().iter().filter(|command| !command.has_subcommands) {
        let steps = of_command(&command.path);
        let words = command.path.join(" ");
        let succeeds = |is_json: bool| {
            let is_it = |step: &&Step| step.line.contains(&words) && step.line.contains("-o json") == is_json;
            steps.iter().filter(is_it).any(Step::succeeded)
        };
        assert!(succeeds(false), "no transcript of `sgfw {words}`");
        assert!(succeeds(true), "no transcript of `sgfw {words} -o json`");
    }
}

#[test]
fn every_example_is_run_in_a_transcript_and_succeeds() {
    for Documented { path, examples, .. } in commands() {
        let steps = if path.is_empty() { of_command(&["sgfw"]) } else { of_command(&path) };
        for example in examples {
            let wanted = without_exempt_ids(&example);
            let succeeds = |step: &Step| without_exempt_ids(&step.line).contains(&wanted) && step.succeeded();
            assert!(steps.iter().any(succeeds), "no transcript runs `{example}` with success");
        }
    }
}

#[test]
fn every_error_is_in_a_transcript_or_rendered() {
    let wanted: Vec<&str> = tables().iter().flat_map(|table| check_evidence(table)).collect();
    let rendered = rendered::rendered();
    let names: Vec<&str> = rendered.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, wanted, "what no transcript provokes is rendered, in this order");

    let mut text = String::new();
    for (name, error) in rendered {
        let _ = writeln!(text, "## {name}\n{}? {}\n", error.rendered(), error.exit_status() as u8);
    }
    let file = directory().join("rendered-errors.console");
    let assert = Assert::new().action_env(snapbox::assert::DEFAULT_ACTION_ENV).normalize_paths(false);
    assert.eq(text, Data::read_from(&file, None));
}

/// A command, as its help shows it.
struct Documented {
    /// Its words after `sgfw`.
    path: Vec<String>,
    has_subcommands: bool,
    examples: Vec<String>,
}

/// Every command, and `sgfw` itself.
fn commands() -> Vec<Documented> {
    let mut commands = Vec::new();
    collect(&Cli::command(), &[], &mut commands);
    commands
}

fn collect(command: &clap::Command, path: &[String], commands: &mut Vec<Documented>) {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (_, examples) = help.split_once("Examples:\n").unwrap_or_default();
    let examples = examples.lines().take_while(|line| line.starts_with("  "));
    commands.push(Documented {
        path: path.to_vec(),
        has_subcommands: command.has_subcommands(),
        examples: examples.map(|line| line.trim().to_owned()).collect(),
    });
    for subcommand in command.get_subcommands() {
        collect(subcommand, &[path, &[subcommand.get_name().to_owned()]].concat(), commands);
    }
}

/// No policy file can give an exempt address the identifier of an example, so the transcript has another one.
fn without_exempt_ids(line: &str) -> String {
    let words = line.split(' ').map(|word| if word.starts_with("exa-") { "exa-*" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

const FAILS_ALONE: &str = "only a kernel that fails where it never should";

fn tables() -> Vec<Vec<(&'static str, Evidence)>> {
    vec![
        of_the_command_line(),
        of_changes(),
        of_the_model(),
        of_documents(),
        of_the_store(),
        of_the_host(),
        of_the_datapath(),
    ]
}

fn of_the_command_line() -> Vec<(&'static str, Evidence)> {
    let mut table = evidence!(CliError {
        Operation => Wraps,
        Import => Wraps,
        Output => Rendered("a full device behind stdout"),
        Usage => Shown("rules are named by properties in one group at a time"),
        Log => Rendered(FAILS_ALONE),
        NothingLogs => Shown("no interface is attached with a log"),
        Document => Wraps,
        Write => Wraps,
        SavedPlan => Wraps,
        CannotReadFile => Shown("cannot read /nonesuch.plan"),
        CannotWriteFile => Shown("cannot write /nonesuch/change.plan"),
        NotRepaired => Rendered("an interface that refuses its programs once more"),
        NobodyToAsk => Shown("there is no terminal to ask"),
        Declined => Shown("nothing was applied"),
    })
    .to_vec();
    table.extend(evidence!(ImportFailure {
        Import => Wraps,
        UnknownGroup => Shown("the files have no group \"nonesuch\""),
        NotCarriedOver => Shown("not everything is carried over"),
    }));
    table
}

fn of_changes() -> Vec<(&'static str, Evidence)> {
    let mut table = evidence!(OperationError {
        Model => Wraps,
        Store => Wraps,
        Host => Wraps,
        Compile => Wraps,
        Datapath => Wraps,
        AlreadyAttached => Shown("interface eth1 is already attached"),
        WouldLockOut => Rendered("an SSH session; tested between namespaces"),
        PanicWouldLockOut => Rendered("an SSH session; tested between namespaces"),
        WouldCloseManagement => Shown("which the management prefix 203.0.113.0/24 must always"),
        FlowTablesExist => Shown("the flow table exists already"),
        IncompleteAttachment => Rendered("somebody takes one of two programs away"),
        NotAttached => Shown("interface eth9 is not attached"),
        NoFreeSlot => Rendered("more interfaces than a test attaches"),
        ForeignPins => Shown("protect interfaces that the state directory other does not know"),
        OtherNamespace => Rendered("a second namespace; tested between namespaces"),
        FiltersInOtherNamespace => Rendered("a second namespace, and no TCX; tested between namespaces"),
        AwaitingConfirmation => Shown("waits to be confirmed"),
        NothingToConfirm => Shown("no change waits to be confirmed"),
        NotConfirmedInTime => Shown("was not confirmed in time"),
        UnknownGeneration => Shown("generation 99 is not in the history"),
        AttachedSince => Shown("an interface was attached or detached after generation"),
        Plan => Wraps,
        PlanOutdated => Shown("the plan was made on generation"),
        PlanOfOtherInstance => Shown("the plan was made of another state directory"),
        NoDefaultGroup => Rendered("a store that was changed by hand"),
        Unseen => Rendered("a kernel that fails twice"),
        NotUndone => Rendered("a kernel that fails twice"),
    })
    .to_vec();
    table.extend(evidence!(CompileError {
        TooManyServices => Rendered("more rules than a test makes"),
        TooManyPolicies => Rendered("more interfaces than a test attaches"),
        NestedPrefixes => Rendered("more rules than a test makes"),
        NestedPorts => Rendered("more rules than a test makes"),
        NoMoreRuleSets => Rendered("more changes than a test makes"),
        TooManyCells => Rendered("more rules than a test makes"),
        TooManyMatches => Rendered("more rules than a test makes"),
    }));
    table
}

fn of_the_model() -> Vec<(&'static str, Evidence)> {
    evidence!(ModelError {
        MalformedId => Shown("malformed id"),
        NoRandomness => Rendered(FAILS_ALONE),
        InvalidGroupName => Shown("invalid security group name"),
        ReservedGroupName => Shown("is reserved"),
        DuplicateGroup => Shown("the security group 'Web' already exists"),
        GroupNotFound => Shown("the security group 'nonesuch' does not exist"),
        DefaultGroupUndeletable => Shown("cannot be deleted by a user"),
        HasDependents => Shown("has a dependent object"),
        InvalidDescription => Shown("invalid description"),
        NoGroupDescription => Shown("the description of a security group is empty"),
        UnknownProtocol => Shown("unknown protocol"),
        PortsRequired => Shown("needs a port or a range of ports"),
        PortsNotApplicable => Shown("takes no ports"),
        IcmpTypeNotApplicable => Shown("takes no ICMP type"),
        InvalidPort => Shown("TCP/UDP port (70000) out of range"),
        ReversedPorts => Shown("invalid TCP/UDP port range"),
        InvalidIcmpType => Shown("invalid ICMP type or code"),
        MalformedCidr => Shown("is malformed"),
        UnknownAddressFamily => Shown("unknown address family"),
        DuplicateRule => Shown("ALLOW\" already exists"),
        RepeatedRule => Shown("must not appear multiple times"),
        RuleNotFound => Shown("does not exist in this security group"),
        RuleIdNotFound => Shown("the security group rule 'sgr-0123456789abcdef9' does not exist"),
        PeerKindChanged => Shown("cannot become one of the kind"),
        NotOnePeer => Shown("has exactly one peer"),
        DuplicateMember => Shown("is already a member"),
        MemberNotFound => Shown("is not a member"),
        InvalidPrefixListName => Shown("invalid prefix list name"),
        DuplicatePrefixList => Shown("the prefix list 'offices' already exists"),
        PrefixListNotFound => Shown("the prefix list 'nonesuch' does not exist"),
        NoRoomForEntries => Shown("needs room for at least one entry"),
        WrongFamily => Shown("of the family IPv4 of prefix list"),
        DuplicateEntry => Shown("is already an entry"),
        EntryNotFound => Shown("is not an entry"),
        TooManyEntries => Shown("that prefix list 'offices' has room for"),
        VersionMismatch => Shown("has the version 1, not 9"),
        VersionNotFound => Shown("there is no version 9"),
        QuotaExceeded => Shown("the maximum number of rules per security group has been reached"),
        UnknownQuota => Shown("unknown quota"),
        UnknownFilter => Shown("unknown filter"),
        FilterWithoutValue => Shown("has no value"),
        DuplicateExemptAddress => Shown("is already exempt"),
        ExemptAddressNotFound => Shown("is not exempt"),
        ExemptAddressIdNotFound => Shown("the exempt address 'exa-0123456789abcdef0' does not exist"),
        ExemptsNothing => Shown("would exempt nothing"),
        InvalidTagKey => Shown("invalid tag key"),
        InvalidTagValue => Shown("invalid tag value"),
        TooManyTags => Shown("that one object may carry"),
        TimeoutOutOfRange => Shown("is out of range"),
        NotForManagement => Shown("a management prefix is for tcp or udp"),
        DuplicateManagementPrefix => Shown("is already declared for management"),
        ManagementPrefixNotFound => Shown("is not declared for management"),
        NoGroups => Rendered("the command line and policy files refuse it before"),
    })
    .to_vec()
}

fn of_documents() -> Vec<(&'static str, Evidence)> {
    let mut table = evidence!(PlanError {
        Group => Shown("group app: the security group"),
        PrefixList => Shown("prefix list offices: "),
        Interface => Shown("interface eth1: "),
        GroupRenamed => Shown("cannot be renamed"),
        GroupDescribedAnew => Shown("is described as"),
        PrefixListFamily => Shown("the family of a prefix list cannot be changed"),
        InterfaceListedTwice => Rendered("reading a policy file refuses it before"),
        InterfaceNotAttached => Shown("and a policy file attaches none"),
    })
    .to_vec();
    table.extend(evidence!(SavedPlanError {
        NotAPlan => Shown("this is not a saved plan"),
        UnknownVersion => Shown("this plan has format version 99"),
        Damaged => Shown("its checksum does not match"),
        Unreadable => Shown("this plan cannot be read"),
        InvalidValue => Rendered("a plan that sgfw has not written"),
    }));
    table.extend(evidence!(WriteError {
        Toml => Rendered("no document that could be read is known to fail"),
        Json => Rendered("no document that could be read is known to fail"),
    }));
    table.extend(evidence!(ImportError {
        Json => Shown("expected value at line 1"),
        OtherJson => Shown("the top-level keys are"),
        StateVersion => Shown("version 3 of the state of Terraform"),
        Invalid => Shown("IpPermissions[0]: "),
        NoGroups => Shown("no file describes a group"),
        DescribedTwice => Shown("is described twice"),
        SameName => Shown("two groups have the name"),
        UnknownVpc => Shown("no group is of the VPC"),
        EntriesOfUnknownList => Shown("entries do not say of which prefix list they are"),
        UndescribedList => Shown("no file describes the prefix list"),
    }));
    table
}

fn of_the_store() -> Vec<(&'static str, Evidence)> {
    evidence!(StoreError {
        CannotCreate => Shown("cannot create the state directory"),
        CannotLock => Shown("cannot lock"),
        LockHeld => Shown("was still locked after"),
        CannotOpen => Shown("cannot open odd/sgfw.db"),
        Empty => Shown("sgfw.db is empty"),
        UnknownSchema => Rendered("a store of a newer sgfw"),
        Corrupt => Rendered("a store that was changed by hand"),
        DefaultGroup => Rendered(FAILS_ALONE),
        Sqlite => Shown("the store failed"),
    })
    .to_vec()
}

fn of_the_host() -> Vec<(&'static str, Evidence)> {
    evidence!(HostError {
        NotRoot => Rendered("a process without root; tested between namespaces"),
        LacksCapability => Rendered("root with few capabilities; tested between namespaces"),
        Forbidden => Rendered("a process under a seccomp filter; tested between namespaces"),
        PreemptRt => Rendered("a kernel with PREEMPT_RT"),
        NoSuchNamespace => Shown("cannot open the network namespace"),
        CannotEnterNamespace => Rendered("a file that is no network namespace"),
        UnknownNamespace => Rendered(FAILS_ALONE),
        NoSuchInterface => Shown("there is no interface eth9"),
        Interfaces => Rendered(FAILS_ALONE),
        Sockets => Rendered(FAILS_ALONE),
        SocketMessage => Rendered(FAILS_ALONE),
        CannotMount => Rendered("a directory that cannot be mounted on"),
    })
    .to_vec()
}

fn of_the_datapath() -> Vec<(&'static str, Evidence)> {
    evidence!(DatapathError {
        BpffsNotMounted => Shown("is not in a mounted bpf filesystem"),
        TooManyAlike => Rendered("nine interfaces of like indexes; tested between namespaces"),
        MapsGone => Shown("the pin of BPF map"),
        NoSuchInterface => Rendered("an interface that vanishes while it is attached"),
        ForeignXdp => Shown("already has the XDP program"),
        XdpNeedsEthernet => Shown("has no Ethernet header"),
        NoTc => Rendered("a kernel without TCX and cls_bpf"),
        OtherQdisc => Rendered("a kernel without TCX; tested between namespaces"),
        Clsact => Rendered(FAILS_ALONE),
        FilterGone => Rendered("a filter that somebody deletes while it is replaced"),
        NoLink => Rendered("a driver without BPF links"),
        Verifier => Rendered("an object that does not suit the kernel"),
        Program => Rendered(FAILS_ALONE),
        FlowsDoNotFit => Rendered("more connections than a test opens"),
        NoRandomness => Rendered("a kernel without random numbers"),
        FlowTableFull => Rendered("more connections than a test opens"),
        Map => Rendered(FAILS_ALONE),
        NoSysfs => Rendered("a machine without /sys; tested between namespaces"),
        Object => Rendered("a kernel without a kind of map"),
        Io => Rendered(FAILS_ALONE),
        Interfaces => Rendered(FAILS_ALONE),
        Netlink => Rendered(FAILS_ALONE),
        NetlinkSocket => Rendered(FAILS_ALONE),
        Clock => Rendered(FAILS_ALONE),
        Log => Rendered(FAILS_ALONE),
        Link => Rendered(FAILS_ALONE),
        Pin => Rendered(FAILS_ALONE),
        MissingProgram => Rendered("an object that is not sgfw's"),
        LogSocket => Rendered(FAILS_ALONE),
        ForeignPin => Rendered("a file that somebody put beside the pins"),
        OtherVersion => Rendered("pins of another ABI; tested between namespaces"),
        UnreadableFlows => Rendered("pins of another ABI; tested between namespaces"),
        AwaitingConfirmation => Rendered("what changes an instance asks before"),
        NoMemory => Rendered("more rules than a test makes"),
        TooLarge => Rendered("more rules than a test makes"),
    })
    .to_vec()
}
