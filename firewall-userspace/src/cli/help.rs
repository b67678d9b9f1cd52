//! How to mend what is wrong: the advice that goes with an error.

use std::path::Path;

use ipnet::IpNet;

use crate::model::{GroupName, ManagementProperties, ModelError};
use crate::operations::Capability;
use crate::operations::CompileError;
use crate::operations::DatapathError;
use crate::operations::HostError;
use crate::operations::OperationError;
use crate::operations::StoreError;

pub(super) fn operation_help(error: &OperationError) -> Option<String> {
    let help = match error {
        OperationError::Model(error) => return model_help(error),
        OperationError::Host(error) => return host_help(error),
        OperationError::Datapath(error) => return datapath_help(error),
        OperationError::Store(error) => return store_help(error),
        OperationError::Compile(error) => return Some(compile_help(error)),
        OperationError::AlreadyAttached { interface } => {
            format!("`sgfw interface set-groups {interface} --group …` changes its groups")
        }
        OperationError::WouldLockOut { session, .. } => format!(
            "authorize it first: `sgfw rule authorize GROUP --ingress --protocol tcp --port {} --cidr {}`; or repeat the \
             command with --allow-lockout",
            session.server.port(),
            IpNet::from(session.client.ip())
        ),
        OperationError::AwaitingConfirmation { .. } => {
            "`sgfw confirm` makes it stay, `sgfw rollback` takes it back at once; then repeat this command"
                .to_owned()
        }
        OperationError::NothingToConfirm => "`sgfw history list` shows the changes".to_owned(),
        OperationError::NotConfirmedInTime { .. } => {
            "make the change again, and confirm it within its time".to_owned()
        }
        OperationError::UnknownGeneration { .. } => "`sgfw history list` shows the generations".to_owned(),
        OperationError::AttachedSince { .. } => {
            "go back to a later generation, or attach and detach by hand what was attached then".to_owned()
        }
        OperationError::PanicWouldLockOut { interface, session } => format!(
            "declare it first: `sgfw management add {interface} --port {} {}`; or repeat the command with --allow-lockout",
            session.server.port(),
            IpNet::from(session.client.ip())
        ),
        OperationError::WouldCloseManagement { properties, group, .. } => {
            management_help(properties, group.as_ref())
        }
        OperationError::FlowTablesExist => {
            "leave --flow-entries out; `sgfw interface reload --flow-entries N` gives it another size"
                .to_owned()
        }
        OperationError::IncompleteAttachment { .. } => "`sgfw repair` attaches it again".to_owned(),
        OperationError::NotAttached { .. } => {
            "`sgfw interface list` shows the attached interfaces".to_owned()
        }
        OperationError::ForeignPins { .. } => {
            "give the --state-dir and the --bpffs that belong together; each instance needs its own of both"
                .to_owned()
        }
        OperationError::OtherNamespace => {
            "give the --netns in which they were attached; if it is gone, `sgfw interface detach` them"
                .to_owned()
        }
        OperationError::FiltersInOtherNamespace { pins, .. } => {
            let pins: Vec<_> = pins.iter().map(|pin| pin.display().to_string()).collect();
            format!(
                "give the --netns in which it was attached; if that is gone, so are the filters: remove the pins of \
                 their programs ({}), then detach it",
                pins.join(", ")
            )
        }
        OperationError::PlanOutdated { .. } => {
            "make the plan anew with `sgfw plan`, and look at it again".to_owned()
        }
        OperationError::PlanOfOtherInstance { .. } => {
            "give the --state-dir or the --netns that the plan was made with".to_owned()
        }
        OperationError::NoFreeSlot { .. } => "detach an interface that needs no protection".to_owned(),
        OperationError::NoDefaultGroup => DAMAGED_STORE.to_owned(),
        OperationError::Unseen { .. } => {
            "`sgfw status` shows what is in force, and `sgfw repair` puts what is stored into force"
                .to_owned()
        }
        OperationError::NotUndone { .. } => {
            "`sgfw status` shows what is in force; repeat the change or detach the interface".to_owned()
        }
        _ => return None,
    };
    Some(help)
}

fn compile_help(error: &CompileError) -> String {
    let help = match error {
        CompileError::TooManyServices { .. } => "use wider port ranges, or the same ones in more rules",
        CompileError::TooManyPolicies { .. } => {
            "give interfaces the same groups and the same always-tracked peers"
        }
        CompileError::NestedPrefixes { .. } => {
            "leave out prefixes that lie in another one with the same rules, and put prefixes of the same rules into one \
             prefix list"
        }
        CompileError::NestedPorts { .. } => {
            "replace port ranges that lie in each other by ranges beside each other"
        }
        CompileError::NoMoreRuleSets { .. } => {
            "export the policy, detach the interfaces, and begin with another state directory"
        }
        CompileError::TooManyCells { .. } | CompileError::TooManyMatches { .. } => {
            "put prefixes of the same rules into one prefix list, which counts once, and give prefixes that have many others \
             in them fewer port ranges"
        }
    };
    help.to_owned()
}

pub(super) fn model_help(error: &ModelError) -> Option<String> {
    let help = match error {
        ModelError::MalformedId { prefix, .. } => {
            return Some(format!(
                "an id is {prefix} and 17 digits from 0-9 and a-f, alone or at the end of an ARN"
            ));
        }
        ModelError::QuotaExceeded { quota, .. } => {
            return Some(format!(
                "remove what is not needed, or raise the quota: `sgfw quota set {}=N`, or `sgfw quota reset {0}` for no \
                 limit",
                quota.name()
            ));
        }
        ModelError::DuplicateRule { .. } => {
            "`sgfw rule list` shows it; a rule with another description alone is the same rule"
        }
        ModelError::DuplicateMember { group, .. } | ModelError::MemberNotFound { group, .. } => {
            return Some(format!("`sgfw group show '{group}'` shows the members"));
        }
        ModelError::DuplicateEntry { list, .. } | ModelError::EntryNotFound { list, .. } => {
            return Some(format!("`sgfw prefix-list show '{list}'` shows the entries"));
        }
        ModelError::DefaultGroupUndeletable { .. } => {
            "every instance has it; `sgfw rule revoke` takes its rules away"
        }
        ModelError::GroupNotFound { .. } => "`sgfw group list` shows the groups",
        ModelError::PrefixListNotFound { .. } => "`sgfw prefix-list list` shows the prefix lists",
        ModelError::RuleNotFound { .. } | ModelError::RuleIdNotFound { .. } => {
            "`sgfw rule list` shows the rules; protocol, ports and peer must be exactly those of the rule"
        }
        ModelError::HasDependents { .. } => {
            "`sgfw rule revoke` removes rules; `sgfw interface set-groups` or `interface detach` frees a group of its \
             interfaces"
        }
        ModelError::PortsRequired { .. } => "add --port P or --port P-Q; every port is 0-65535",
        ModelError::PortsNotApplicable { .. } => "leave --port out; --icmp-type selects ICMP messages",
        ModelError::IcmpTypeNotApplicable { .. } => "leave --icmp-type out",
        ModelError::InvalidIcmpType { .. } => {
            "write T or T/CODE with numbers from 0 to 255; leave it out for every type"
        }
        ModelError::DuplicateExemptAddress { .. }
        | ModelError::ExemptAddressNotFound { .. }
        | ModelError::ExemptAddressIdNotFound { .. } => "`sgfw exempt list` shows the exempt addresses",
        ModelError::PeerKindChanged { .. } => "authorize a rule with the other peer, then revoke this one",
        ModelError::NotOnePeer { .. } => "give --cidr, --source-group or --prefix-list once",
        ModelError::VersionMismatch { .. } => {
            "somebody has changed it since: look at `sgfw prefix-list show`, and repeat the command with that version"
        }
        ModelError::VersionNotFound { .. } => "`sgfw prefix-list history` shows the versions that are kept",
        ModelError::TooManyEntries { .. } => {
            "remove entries, or make more room: `sgfw prefix-list modify LIST --max-entries N`"
        }
        ModelError::NotForManagement { .. } => "use --protocol tcp or --protocol udp",
        ModelError::DuplicateManagementPrefix { .. } | ModelError::ManagementPrefixNotFound { .. } => {
            "`sgfw management list` shows the management prefixes"
        }
        _ => return error.hint(),
    };
    Some(help.to_owned())
}

fn host_help(error: &HostError) -> Option<String> {
    let help = match error {
        HostError::NotRoot => "run it as root, for example with sudo".to_owned(),
        HostError::LacksCapability { missing, .. } => capability_help(missing),
        HostError::Forbidden { .. } => {
            "no capability is known to be missing: a seccomp filter, the kernel's lockdown, a security module or a user \
             namespace (rootless containers have one) may forbid it"
                .to_owned()
        }
        HostError::PreemptRt => {
            "boot the distribution's kernel without it; Debian's is linux-image-amd64".to_owned()
        }
        HostError::NoSuchNamespace { .. } => "`ip netns list` shows the network namespaces".to_owned(),
        HostError::NoSuchInterface { existing, .. } => format!("there are: {}", existing.join(", ")),
        _ => return None,
    };
    Some(help)
}

fn datapath_help(error: &DatapathError) -> Option<String> {
    let help = match error {
        DatapathError::BpffsNotMounted { path } => bpffs_help(path),
        DatapathError::NoSysfs => "mount sysfs: `mount -t sysfs sysfs /sys`".to_owned(),
        DatapathError::MapsGone { .. } => {
            "`sgfw repair` attaches the interfaces again, with what is stored".to_owned()
        }
        DatapathError::NoTc { .. } => {
            "TCX came with Linux 6.6 and needs CONFIG_NET_XGRESS: Debian 13's 6.12 has it, and so has RHEL 9.4's 5.14; \
             older kernels need the modules sch_ingress and cls_bpf (CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_BPF), which \
             Debian 12's 6.1 has"
                .to_owned()
        }
        DatapathError::NoLink { hook: "XDP", .. } => {
            "links for XDP came with Linux 5.9: Debian 12's 6.1, Ubuntu 24.04's 6.8 and Debian 13's 6.12 have them".to_owned()
        }
        DatapathError::NoLink { .. } => {
            "links for TC are TCX, which came with Linux 6.6: Debian 13's 6.12 has it, and so has RHEL 9.4's 5.14".to_owned()
        }
        DatapathError::Verifier { .. } => format!("this kernel's verifier does not follow what the programs do; {SUITABLE}"),
        DatapathError::Object { .. } if error.is_for_want_of_memory() => {
            "give the machine, or the control group that this runs in, more memory, or the flow table fewer --flow-entries"
                .to_owned()
        }
        DatapathError::Object { .. } => format!("this kernel may lack a kind of map that sgfw has; {SUITABLE}"),
        DatapathError::OtherQdisc { interface, kind } => format!(
            "give its filters to clsact, which has what {kind} has: `tc qdisc delete dev {interface} {kind}` and \
             `tc qdisc add dev {interface} clsact`"
        ),
        DatapathError::FilterGone { .. } => "`sgfw repair` attaches it again".to_owned(),
        DatapathError::ForeignXdp { interface, .. } => format!(
            "use --ingress-hook tc, or remove that program; `ip link set dev {interface} xdp off` does if it was \
             attached without a link"
        ),
        DatapathError::OtherVersion { .. } => {
            "`sgfw interface reload` puts this version's programs in their place, \
            without a gap and with the flows; until then those that are there go on"
                .to_owned()
        }
        DatapathError::UnreadableFlows { .. } => {
            "detach the interfaces with the sgfw that has attached them, then \
            attach them with this one"
                .to_owned()
        }
        DatapathError::XdpNeedsEthernet { .. } => "use --ingress-hook tc or auto".to_owned(),
        DatapathError::NoSuchInterface { .. } => "`ip link` shows the interfaces".to_owned(),
        DatapathError::TooManyAlike { .. } => {
            "detach one of them, or make the device anew, which gives it another index".to_owned()
        }
        DatapathError::ForeignPin { .. } => "remove it, or give another --bpffs".to_owned(),
        DatapathError::FlowTableFull => {
            "`sgfw interface reload --flow-entries N` gives it another size".to_owned()
        }
        DatapathError::FlowsDoNotFit { .. } => {
            "give a larger number; nothing was changed, and `sgfw status` shows what there is".to_owned()
        }
        DatapathError::NoMemory { .. } => "nothing was changed; give the machine, or the control group that this runs in, more \
            memory, or give rules the same peers and the same ports where they may have them"
            .to_owned(),
        DatapathError::TooLarge { .. } => {
            "give rules the same peers and the same ports where they may have them".to_owned()
        }
        _ => return None,
    };
    Some(help)
}

/// README.md has the table of what was measured.
const SUITABLE: &str =
    "Linux 6.1 of Debian 12, 6.8, the series of Ubuntu 24.04, and 6.12 of Debian 13 load every one";

/// Root that has too little is in a container or a unit.
fn capability_help(missing: &[Capability]) -> String {
    let names: Vec<&str> = missing.iter().map(|capability| capability.name()).collect();
    let of_container: Vec<_> =
        names.iter().map(|name| format!("--cap-add={}", name.trim_start_matches("CAP_"))).collect();
    format!(
        "a container gets this by `{}`, a systemd unit that says CapabilityBoundingSet= by a further `CapabilityBoundingSet={}`; \
         `setpriv --dump` shows what a process has",
        of_container.join(" "),
        names.join(" ")
    )
}

/// The directory where one is to be mounted: the usual one, if the pins are to be in that.
fn bpffs_help(pins: &Path) -> String {
    const USUAL: &str = "/sys/fs/bpf";
    let then = "then `sgfw repair` attaches again what is stored";
    if pins.starts_with(USUAL) {
        return format!(
            "mount one with `mount -t bpf bpf {USUAL}`, or add --mount-bpffs to `sgfw interface attach`; {then}"
        );
    }
    let pins = pins.to_string_lossy();
    let pins = shell_words::quote(&pins);
    format!(
        "mount one with `mkdir -p {pins} && mount -t bpf bpf {pins}`, or add --mount-bpffs={pins} to `sgfw interface \
         attach`; {then}"
    )
}

const DAMAGED_STORE: &str = "what is in force goes on; bring sgfw.db of the state directory back from a backup, then \
    `sgfw repair`; or move it away, `sgfw apply` a file of `sgfw export` and attach the interfaces again";

/// Whatever happens to the store, what is in force stays in force.
fn store_help(error: &StoreError) -> Option<String> {
    let help = match error {
        StoreError::LockHeld { .. } => "try again, or wait longer with --lock-timeout",
        StoreError::UnknownSchema { .. } => "use the sgfw that wrote it, or a newer one",
        _ if error.is_damage() => DAMAGED_STORE,
        _ if error.is_full_disk() => {
            "what is in force goes on; make room on the filesystem of the state directory, then repeat the command"
        }
        _ if error.is_about_writing() => {
            "run it as root, make the filesystem of the state directory writable (`mount -o remount,rw`), or give another \
             --state-dir"
        }
        _ => return None,
    };
    Some(help.to_owned())
}

fn management_help(properties: &ManagementProperties, group: Option<&GroupName>) -> String {
    let ManagementProperties { interface, service, prefix } = properties;
    let (group, protocol, ports) =
        (group.map_or("GROUP", GroupName::as_str), service.protocol(), service.ports());
    let selector = format!("--protocol {protocol} --port {ports}");
    format!(
        "this rule would: `sgfw rule authorize {group} --ingress {selector} --cidr {prefix}`; if nobody needs to come from \
         there, `sgfw management remove {interface} {selector} {prefix}`; or repeat the command with --allow-lockout"
    )
}
