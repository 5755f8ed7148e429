//! The command line: what can be asked of the agent, and what its exit codes mean.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use gatepost_evidence::id::GatewayId;
use gatepost_evidence::run::Stage;
use gatepost_rules::pack::Severity;

const EXAMPLES: &str = "\
Exit codes:
  0  nothing at or above the threshold; the command did what it was asked
  1  findings at or above the threshold, a failed check of rules, configuration or evidence, or a refusal
  2  cannot run: wrong usage, unreadable configuration, no state folder

Examples:
  gatepost audit                              look at this machine, print the findings
  gatepost audit --bundle audit-baseline --fail-on high --format json
  gatepost init > gatepost.toml               write a commented configuration from what is found here
  gatepost enroll --token-file token          make this gateway known to the sink in the configuration
  gatepost probes                             what an audit touches, needs and costs, before it is made
  gatepost run                                what the service does: audit on a timer, upload when it can
  gatepost show 4 --envelope                  the signed evidence of run 4, as it is
  gatepost export --output evidence.tar.zst   all runs in one file for an auditor
  gatepost verify evidence.tar.zst            what of it holds, on any machine

Colour follows the terminal and NO_COLOR. GATEPOST_LOG sets the log's level (error, warn, info, debug).";

const VERIFY: &str = "\
Exit codes:
  0  everything that could be checked holds; what could not be checked is listed
  1  something is broken
  2  the file cannot be read, or is not a bundle

Without --gateway-key or --gateway the key inside is used: then the bundle itself is all that says whose it
is, and the printed ids should be compared with those known from elsewhere (`gatepost status`, the sink's
pages).

Examples:
  gatepost verify evidence.tar.zst
  gatepost verify evidence.tar.zst --gateway-key gateway.pem --sink-key sink.pem --format json";

const ROTATE_KEY: &str = "\
The old key signs that the new one follows it, so identity, chain and baseline go on. The old private key is
removed; runs that it signed stay valid, and what a copy of it signs from then on is refused by the sink and
kept as evidence. A rotation that is cut short is finished or undone by the next command. `gatepost run` need
not be stopped. Between two rotations there must be a run.

Examples:
  gatepost rotate-key                         when the SD card may have been copied, or once a year
  gatepost status                             says which key signs from which run on";

const BATTERY: &str = "\
Run it where the CA's key is, not on the gateway. The folder holds one PEM file each for an expired certificate,
one that is not yet valid, one for servers only, a revoked one, and a sound one that the others are compared
with; the CA's key is not in it. Each has a name of its own, gatepost-canary-something.

Examples:
  gatepost battery --ca-cert ca.pem --ca-key ca.key --output battery
  gatepost battery --ca-cert ca.pem --ca-key ca.key --crl crl.pem --output battery";

const SNAPSHOT: &str = "\
It holds the files, tables and answers that the checks of host and link read, and no others. Taken out are
password hashes, private keys, passwords in addresses and on command lines, the environment of containers, and
people's names; what was taken out of which file is printed and stands in .gatepost/ledger.json. Accounts,
addresses, packages and settings stay: look through it before you hand it on. Run as root it sees everything;
what cannot be read is listed and stays unknown.

Examples:
  gatepost snapshot /tmp/pump-house.tar.zst      one file to send in
  mkdir s && tar --zstd -xf pump-house.tar.zst -C s
                                                 then `[host] root = \"s\"` in a configuration audits it";

const PROBES: &str = "\
Nothing is looked at: this is what an audit would do here, and what the latest runs in the spool say.

Examples:
  gatepost probes                             before an audit on a gateway that somebody depends on
  gatepost probes --format json               targets, limits and last results, for programs";

/// A signed, offline-tolerant self-audit for IoT gateways.
#[derive(Debug, Parser)]
#[command(name = "gatepost", version, after_help = EXAMPLES, max_term_width = 110)]
pub struct Cli {
    /// Configuration file; /etc/gatepost/gatepost.toml if it exists, else this machine as it is.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Keep identity and spool in this folder instead of the configured one.
    #[arg(long, global = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at the path once, sign and keep what was seen, print the findings.
    Audit(Audit),
    /// Audit on a timer and upload when it is possible; what the service does.
    Run,
    /// Make this gateway known to the sink, with a one-time token.
    Enroll(Enroll),
    /// Give up the key that signs for a new one; the gateway stays the same.
    #[command(after_help = ROTATE_KEY)]
    RotateKey,
    /// Hand every waiting run to the sink now.
    Upload,
    /// Who this gateway is, what waits for the sink, what the sink refused.
    Status(Formatted),
    /// Show a run from the spool, judged again; the latest by default.
    Show(Show),
    /// Compare two runs of the spool; the first with the latest by default.
    Compare(Compare),
    /// Write runs of the spool into one file that an auditor can check.
    Export(Export),
    /// Check an evidence bundle, with no network, state or database.
    Verify(Verify),
    /// Write what the probes of the host read, without secrets, to be audited elsewhere.
    #[command(after_help = SNAPSHOT)]
    Snapshot(Snapshot),
    /// List the probes: what each touches, needs and costs, and what came of it last.
    #[command(after_help = PROBES)]
    Probes(Formatted),
    /// Look around on this machine and print a commented configuration.
    Init(Init),
    /// Make certificates of clients that the broker must turn away, for a gateway to try.
    #[command(after_help = BATTERY)]
    Battery(Battery),
    /// Check a configuration.
    Config {
        /// What to do with it.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Work with rule packs.
    Rules {
        /// What to do with them.
        #[command(subcommand)]
        command: RulesCommand,
    },
}

/// `gatepost snapshot`
#[derive(Debug, Args)]
pub struct Snapshot {
    /// The folder to write, which must not be there or be empty; a name that ends with .tar.zst makes one file.
    #[arg(value_name = "DIR|FILE.tar.zst")]
    pub output: PathBuf,
    /// The root folder to look at, instead of the configured one.
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

/// `gatepost audit`
#[derive(Debug, Args)]
pub struct Audit {
    /// Which checks: audit-baseline, hardening-verification, certificate-hygiene, telemetry-integrity, host-hardening,
    /// field-self-audit.
    #[arg(long, value_name = "NAME", default_value = "field-self-audit")]
    pub bundle: String,
    /// The part of the engagement this run belongs to.
    #[arg(long, value_enum, default_value = "audit")]
    pub stage: StageArg,
    /// Exit with 1 when a finding is at least this severe.
    #[arg(long, value_enum, value_name = "SEVERITY", default_value = "low")]
    pub fail_on: SeverityArg,
    /// How to print the findings.
    #[command(flatten)]
    pub output: Formatted,
}

/// Output format.
#[derive(Debug, Clone, Copy, Args)]
pub struct Formatted {
    /// text for people, json for programs.
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

/// Output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// A stage on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StageArg {
    /// The first look.
    Audit,
    /// Hardening, and the reruns that prove it.
    Sprint,
    /// Watching for drift.
    Retainer,
}

impl From<StageArg> for Stage {
    fn from(stage: StageArg) -> Self {
        match stage {
            StageArg::Audit => Self::Audit,
            StageArg::Sprint => Self::Sprint,
            StageArg::Retainer => Self::Retainer,
        }
    }
}

/// A severity on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SeverityArg {
    /// Worth knowing.
    Low,
    /// To be planned.
    Medium,
    /// To be fixed before anything else.
    High,
    /// To be fixed now.
    Critical,
}

impl From<SeverityArg> for Severity {
    fn from(severity: SeverityArg) -> Self {
        match severity {
            SeverityArg::Low => Self::Low,
            SeverityArg::Medium => Self::Medium,
            SeverityArg::High => Self::High,
            SeverityArg::Critical => Self::Critical,
        }
    }
}

/// `gatepost enroll`
#[derive(Debug, Args)]
pub struct Enroll {
    /// The file that holds the one-time token; - for standard input.
    #[arg(long, value_name = "FILE")]
    pub token_file: PathBuf,
}

/// `gatepost show`
#[derive(Debug, Args)]
pub struct Show {
    /// The run's place in the chain.
    pub seq: Option<u64>,
    /// Print the signed DSSE envelope as it is.
    #[arg(long, conflicts_with = "format")]
    pub envelope: bool,
    /// How to print the run.
    #[command(flatten)]
    pub output: Formatted,
}

/// `gatepost compare`
#[derive(Debug, Args)]
pub struct Compare {
    /// The earlier run.
    #[arg(long, value_name = "SEQ")]
    pub from: Option<u64>,
    /// The later run.
    #[arg(long, value_name = "SEQ")]
    pub to: Option<u64>,
    /// How to print the delta.
    #[command(flatten)]
    pub output: Formatted,
}

/// `gatepost export`
#[derive(Debug, Args)]
pub struct Export {
    /// The first run; the first of the spool by default.
    #[arg(long, value_name = "SEQ")]
    pub from: Option<u64>,
    /// The last run; the latest by default.
    #[arg(long, value_name = "SEQ")]
    pub to: Option<u64>,
    /// The bundle to write (.tar.zst); a file that exists is not replaced.
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
}

/// `gatepost verify`
#[derive(Debug, Args)]
#[command(after_help = VERIFY)]
pub struct Verify {
    /// The bundle, as `gatepost export` or `gatepost-sink export` wrote it.
    pub bundle: PathBuf,
    /// The gateway's public key (PEM), known from elsewhere.
    #[arg(long, value_name = "PEM", conflicts_with = "gateway")]
    pub gateway_key: Option<PathBuf>,
    /// The gateway's id, all 64 digits, known from elsewhere.
    #[arg(long, value_name = "ID")]
    pub gateway: Option<GatewayId>,
    /// The sink's public key (PEM), known from elsewhere.
    #[arg(long, value_name = "PEM")]
    pub sink_key: Option<PathBuf>,
    /// How to print what holds and what does not.
    #[command(flatten)]
    pub output: Formatted,
}

/// `gatepost init`
#[derive(Debug, Args)]
pub struct Init {
    /// Write here instead of standard output; a file that exists is not replaced.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `gatepost battery`
#[derive(Debug, Args)]
pub struct Battery {
    /// The certificate of the CA that the broker trusts for its clients (PEM or DER).
    #[arg(long, value_name = "FILE")]
    pub ca_cert: PathBuf,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE")]
    pub ca_key: PathBuf,
    /// The folder to write; one that exists is not replaced.
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// The CA's present CRL (PEM or DER), to make a revoked certificate and the CRL that follows.
    #[arg(long, value_name = "FILE", conflicts_with = "new_crl")]
    pub crl: Option<PathBuf>,
    /// The CA has no CRL yet: make its first one.
    #[arg(long)]
    pub new_crl: bool,
    /// How long certificates and CRL are good.
    #[arg(long, value_name = "DAYS", default_value = "365", value_parser = clap::value_parser!(u16).range(1..=3650))]
    pub days: u16,
}

/// `gatepost config`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Report every mistake, files that are not there included.
    Check,
}

/// `gatepost rules`
#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// Run every control's own test vectors; the built-in pack's by default.
    Test {
        /// A pack in TOML, as docs/rule-authoring.md describes it.
        pack: Option<PathBuf>,
    },
}
