//! `sgfw interface set-timeouts` and `set-options`, and how the settings of an interface are shown.

use std::collections::BTreeSet;

use clap::{ArgGroup, Args, ValueEnum};
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::error::CliError;
use super::group::parse_prefixes;
use super::output::Output;
use super::table::Table;
use crate::model::{Exemption, FlowTimeouts, IcmpErrors, Interface, InterfaceOptions, ModelError, Timeout};
use crate::operations::commands::interfaces;

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("timeouts").multiple(true).required(true).args([
    "tcp_syn", "tcp_established", "tcp_fin", "tcp_closed", "tcp_doubt", "udp", "udp_stream", "icmp", "other", "reset",
])))]
#[command(override_usage = "sgfw interface set-timeouts <INTERFACE> <OPTIONS>")]
pub(super) struct SetTimeouts {
    /// Name of the interface
    interface: String,
    /// TCP until the handshake is complete: 1 to 7200 [default: 60]
    #[arg(long, value_name = "SECONDS")]
    tcp_syn: Option<u32>,
    /// TCP established: 60 to 432000, as in AWS [default: 432000]
    #[arg(long, value_name = "SECONDS")]
    tcp_established: Option<u32>,
    /// TCP after a FIN: 1 to 7200 [default: 120]
    #[arg(long, value_name = "SECONDS")]
    tcp_fin: Option<u32>,
    /// TCP after a RST: 1 to 7200 [default: 10]
    #[arg(long, value_name = "SECONDS")]
    tcp_closed: Option<u32>,
    /// TCP after a RST or FIN that may be forged, unless a socket of the host has the connection: 1 to 86400 [default: 3600]
    #[arg(long, value_name = "SECONDS")]
    tcp_doubt: Option<u32>,
    /// UDP in one direction only, or one request and response: 30 to 60, as in AWS [default: 30]
    #[arg(long, value_name = "SECONDS")]
    udp: Option<u32>,
    /// UDP after more than one request and response: 60 to 180, as in AWS [default: 180]
    #[arg(long, value_name = "SECONDS")]
    udp_stream: Option<u32>,
    /// ICMP and ICMPv6: 1 to 86400 [default: 30]
    #[arg(long, value_name = "SECONDS")]
    icmp: Option<u32>,
    /// Every other protocol: 1 to 86400 [default: 600]
    #[arg(long, value_name = "SECONDS")]
    other: Option<u32>,
    /// Go back to the defaults first
    #[arg(long)]
    reset: bool,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("options").multiple(true).required(true).args([
    "icmp_errors", "tcp_strict", "always_track", "always_track_prefix", "exempt", "audit",
])))]
#[command(override_usage = "sgfw interface set-options <INTERFACE> <OPTIONS>")]
pub(super) struct SetOptions {
    /// Name of the interface
    interface: String,
    /// Which ICMP errors pass
    #[arg(long, value_enum, value_name = "WHICH")]
    icmp_errors: Option<IcmpErrorsChoice>,
    /// Whether only a SYN starts a TCP flow; if off, a rule also admits a connection in mid-stream
    #[arg(long, value_enum, value_name = "on|off")]
    tcp_strict: Option<Switch>,
    /// Whether flows are kept for all traffic, also where the rules are open both ways and AWS would keep none
    #[arg(long, value_enum, value_name = "on|off", conflicts_with = "always_track_prefix")]
    always_track: Option<Switch>,
    /// The same for traffic with these peers alone; repeat it for more. Replaces those given before
    #[arg(long, value_name = "PREFIX")]
    always_track_prefix: Vec<String>,
    /// Whether a kind of traffic passes whatever the rules say; repeat it for more. Kinds: arp, neighbor-discovery,
    /// multicast-listener, dhcp-client, non-ip
    #[arg(long, value_name = "KIND=on|off", value_parser = exemption)]
    exempt: Vec<(Exemption, bool)>,
    /// Whether nothing is dropped: what the rules do not admit passes, and is counted with the verdict `would-drop`.
    ///
    /// What passes becomes part of a tracked flow as soon as the rules admit the host's answer to it, and is counted as
    /// `tracked` from then on. So of a connection that would be dropped only the first packets are shown. When audit mode
    /// ends, the connections that are tracked by then go on.
    #[arg(long, value_enum, value_name = "on|off")]
    audit: Option<Switch>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum IcmpErrorsChoice {
    /// Those about live flows, and those that a rule admits
    Related,
    /// Only those that a rule admits, as in AWS
    RulesOnly,
}

impl From<IcmpErrorsChoice> for IcmpErrors {
    fn from(choice: IcmpErrorsChoice) -> Self {
        match choice {
            IcmpErrorsChoice::Related => Self::Related,
            IcmpErrorsChoice::RulesOnly => Self::RulesOnly,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(super) enum Switch {
    On,
    Off,
}

impl SetTimeouts {
    pub(super) fn run(&self, call: Call<'_>, output: &mut Output) -> Result<(), CliError> {
        let change = |options: &mut InterfaceOptions| self.change(&mut options.timeouts);
        let interface =
            output.made(interfaces::change_options(call.instance, call.options, &self.interface, change)?);
        show(&interface, output)
    }

    fn change(&self, timeouts: &mut FlowTimeouts) -> Result<(), ModelError> {
        if self.reset {
            *timeouts = FlowTimeouts::default();
        }
        let wanted = [
            (Timeout::TcpSyn, self.tcp_syn),
            (Timeout::TcpEstablished, self.tcp_established),
            (Timeout::TcpFin, self.tcp_fin),
            (Timeout::TcpClosed, self.tcp_closed),
            (Timeout::TcpDoubt, self.tcp_doubt),
            (Timeout::Udp, self.udp),
            (Timeout::UdpStream, self.udp_stream),
            (Timeout::Icmp, self.icmp),
            (Timeout::Other, self.other),
        ];
        let mut wanted = wanted.into_iter().filter_map(|(timeout, seconds)| Some((timeout, seconds?)));
        wanted.try_for_each(|(timeout, seconds)| timeouts.set(timeout, seconds))
    }
}

impl SetOptions {
    pub(super) fn run(&self, call: Call<'_>, output: &mut Output) -> Result<(), CliError> {
        let always_track = self.always_track(output)?;
        let interface = output.made(interfaces::change_options(
            call.instance,
            call.options,
            &self.interface,
            |options| {
                options.icmp_errors = self.icmp_errors.map_or(options.icmp_errors, IcmpErrors::from);
                options.tcp_strict =
                    self.tcp_strict.map_or(options.tcp_strict, |switch| switch == Switch::On);
                options.audit = self.audit.map_or(options.audit, |switch| switch == Switch::On);
                if let Some(peers) = always_track {
                    options.always_track = peers;
                }
                self.exempt.iter().for_each(|(kind, is_exempt)| options.exemptions.set(*kind, *is_exempt));
                Ok(())
            },
        )?);
        show(&interface, output)
    }

    fn always_track(&self, output: &Output) -> Result<Option<BTreeSet<IpNet>>, CliError> {
        Ok(match self.always_track {
            Some(Switch::On) => Some(InterfaceOptions::track_every_peer()),
            Some(Switch::Off) => Some(BTreeSet::new()),
            None if self.always_track_prefix.is_empty() => None,
            None => Some(parse_prefixes(&self.always_track_prefix, output)?.into_iter().collect()),
        })
    }
}

/// The settings of an interface for programs. The three timeouts that AWS lets one set have the names that AWS gives
/// them in `ConnectionTrackingConfiguration`.
pub(super) fn settings_json(options: &InterfaceOptions) -> Map<String, Value> {
    let timeout = |timeout| options.timeouts.get(timeout);
    let tracking = json!({
        "TcpEstablishedTimeout": timeout(Timeout::TcpEstablished),
        "UdpTimeout": timeout(Timeout::Udp),
        "UdpStreamTimeout": timeout(Timeout::UdpStream),
        "TcpSynTimeout": timeout(Timeout::TcpSyn),
        "TcpFinTimeout": timeout(Timeout::TcpFin),
        "TcpClosedTimeout": timeout(Timeout::TcpClosed),
        "TcpDoubtTimeout": timeout(Timeout::TcpDoubt),
        "IcmpTimeout": timeout(Timeout::Icmp),
        "OtherTimeout": timeout(Timeout::Other),
    });
    Map::from_iter([
        ("ConnectionTrackingConfiguration".to_owned(), tracking),
        ("IcmpErrors".to_owned(), options.icmp_errors.name().into()),
        ("TcpStrict".to_owned(), options.tcp_strict.into()),
        ("Audit".to_owned(), options.audit.into()),
        ("AlwaysTrack".to_owned(), always_tracked(options).into()),
        ("Exempt".to_owned(), exempt_kinds(options).into()),
    ])
}

/// The settings of an interface for people.
pub(super) fn show_settings(options: &InterfaceOptions, output: &mut Output) -> Result<(), CliError> {
    let always_track = always_tracked(options);
    output.line(format_args!("ICMP errors:   {}", options.icmp_errors.name()))?;
    output.line(format_args!("TCP strict:    {}", on_or_off(options.tcp_strict)))?;
    output.line(format_args!("Audit:         {}", on_or_off(options.audit)))?;
    output.line(format_args!("Always track:  {}", or_none(&always_track)))?;
    output.line(format_args!("Exempt:        {}", or_none(&exempt_kinds(options))))?;
    output.line("")?;
    let mut table = Table::new(&["TIMEOUT", "#SECONDS", "#DEFAULT"]);
    let defaults = FlowTimeouts::default();
    for timeout in Timeout::ALL {
        table.row([
            timeout.name().to_owned(),
            options.timeouts.get(timeout).to_string(),
            defaults.get(timeout).to_string(),
        ]);
    }
    output.table(&table)
}

/// The kinds of traffic that pass whatever the rules say.
pub(super) fn exempt_kinds(options: &InterfaceOptions) -> Vec<String> {
    let exempt = Exemption::ALL.into_iter().filter(|kind| options.exemptions.has(*kind));
    exempt.map(|kind| kind.name().to_owned()).collect()
}

fn always_tracked(options: &InterfaceOptions) -> Vec<String> {
    options.always_track.iter().map(ToString::to_string).collect()
}

/// The outcome of a change: what is set now.
fn show(interface: &Interface, output: &mut Output) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(&settings_json(&interface.options));
    }
    Ok(())
}

const fn on_or_off(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

fn or_none(items: &[String]) -> String {
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

fn exemption(text: &str) -> Result<(Exemption, bool), String> {
    let kinds = Exemption::ALL.map(Exemption::name).join(", ");
    let expected = || format!("write KIND=on or KIND=off; the kinds are {kinds}");
    let (kind, switch) = text.split_once('=').ok_or_else(expected)?;
    let kind = Exemption::from_name(kind).ok_or_else(expected)?;
    match switch {
        "on" => Ok((kind, true)),
        "off" => Ok((kind, false)),
        _ => Err(expected()),
    }
}
