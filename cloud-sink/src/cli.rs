//! The command line.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use gatepost_evidence::bundle::Maker;
use gatepost_evidence::id::Digest;
use gatepost_rules::pack::Pack;
use jiff::{SignedDuration, Timestamp};

use crate::app::now;
use crate::directory::{Directory, write_new};
use crate::error::SinkError;
use crate::store::gateways::{self, Found, Gateway};
use crate::store::{Store, StoreError, baselines, tokens};
use crate::{export, random, serve};

/// Takes signed self-audits of gateways, keeps them, judges them, and says what changed.
#[derive(Debug, Parser)]
#[command(
    name = "gatepost-sink",
    version,
    after_help = "\
Exit codes:
  0  done
  1  the request was refused: there is no such gateway or run
  2  cannot run: wrong options, or the folder, database, certificate or address cannot be used

Examples:
  gatepost-sink serve --data /var/lib/gatepost-sink --listen 0.0.0.0:8443 \\
      --tls-cert sink.pem --tls-key sink.key
  gatepost-sink token create --data /var/lib/gatepost-sink --label pump-house
  gatepost-sink promote --data /var/lib/gatepost-sink --gateway 3f2a91c07d55 --seq 2"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve gateways, programs and people until told to stop
    Serve(Serve),
    /// Make and list one-time enrolment tokens
    #[command(subcommand)]
    Token(Token),
    /// Make a run the baseline of its gateway
    Promote(Promote),
    /// Write a gateway's runs, with all that is needed to check them, into one file for an auditor
    Export(Export),
    /// Print the operator's token for the API and the pages
    OperatorToken(Data),
}

#[derive(Debug, Args)]
struct Data {
    /// The sink's folder; made if it is not there
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Without --tls-cert and --tls-key the sink listens on loopback only. The first line on standard output is
  listening on https://127.0.0.1:PORT
Logs go to standard error; RUST_LOG sets how much. SIGTERM and SIGINT end it in an orderly way.

Examples:
  gatepost-sink serve --data sink --listen 127.0.0.1:0 --address-file sink.url
  gatepost-sink serve --data sink --listen '[::]:8443' --tls-cert chain.pem --tls-key key.pem")]
struct Serve {
    #[command(flatten)]
    data: Data,
    /// Address and port; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8443", value_parser = address)]
    listen: SocketAddr,
    /// Certificate chain in PEM, leaf first
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// List of keys that are known to the world, such as a blacklist of openssl-blacklist (Debian's keys of 2006 to 2008): 20
    /// digits of a modulus or the SHA-256 of a public key on each line. May be given several times
    #[arg(long, value_name = "FILE")]
    weak_keys: Vec<PathBuf>,
    /// Write the URL to this file once the sink listens
    #[arg(long, value_name = "FILE")]
    address_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Token {
    /// Make a token and print it; it is shown once and kept nowhere
    #[command(after_help = "\
Examples:
  gatepost-sink token create --data sink --label pump-house
  gatepost-sink token create --data sink --expires 7d")]
    Create {
        #[command(flatten)]
        data: Data,
        /// How long it may be used: such as 30m, 24h, 7d
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = expiry)]
        expires: SignedDuration,
        /// What it is for
        #[arg(long, value_name = "TEXT", default_value = "")]
        label: String,
    },
    /// List tokens: what for, until when, used by whom
    List(Data),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gatepost-sink promote --data sink --gateway 3f2a91c07d55 --seq 2")]
struct Promote {
    #[command(flatten)]
    data: Data,
    /// The gateway's id, or the first eight or more digits of it
    #[arg(long, value_name = "ID", value_parser = gateway_prefix)]
    gateway: String,
    /// The run's place in the gateway's chain
    #[arg(long, value_name = "N")]
    seq: u64,
}

#[derive(Debug, Args)]
#[command(after_help = "\
`gatepost verify FILE` says what of it holds, on any machine.

Examples:
  gatepost-sink export --data sink --gateway 3f2a91c07d55 --output pump-house.tar.zst
  gatepost-sink export --data sink --gateway 3f2a91c07d55 --from 100 --to 171 --output march.tar.zst")]
struct Export {
    #[command(flatten)]
    data: Data,
    /// The gateway's id, or the first eight or more digits of it
    #[arg(long, value_name = "ID", value_parser = gateway_prefix)]
    gateway: String,
    /// The first run; the first there is by default
    #[arg(long, value_name = "N", default_value_t = 1)]
    from: u64,
    /// The last run; the newest by default
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    to: u64,
    /// The bundle to write (.tar.zst); a file that exists is not replaced
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// Does what the command line says.
///
/// # Errors
/// See [`SinkError::exit_code`].
pub fn run(cli: Cli) -> Result<(), SinkError> {
    match cli.command {
        Command::Serve(options) => serve(options),
        Command::Token(Token::Create { data, expires, label }) => create_token(&data, expires, &label),
        Command::Token(Token::List(data)) => list_tokens(&data),
        Command::Promote(options) => promote(&options),
        Command::Export(options) => export(&options),
        Command::OperatorToken(Data { data }) => {
            println!("{}", Directory::open(&data)?.operator_token()?);
            Ok(())
        }
    }
}

fn serve(options: Serve) -> Result<(), SinkError> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let Serve { data: Data { data }, listen, tls_cert, tls_key, weak_keys, address_file } = options;
    let options = serve::Options { listen, data, tls: tls_cert.zip(tls_key), weak_keys };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(SinkError::Serve)?;
    runtime.block_on(serve::until_told_to_stop(&options, address_file.as_deref()))
}

fn create_token(data: &Data, expires: SignedDuration, label: &str) -> Result<(), SinkError> {
    let store = Directory::open(&data.data)?.store()?;
    let token = random::secret("gpe_")?;
    let (digest, label, time) = (Digest::of(token.as_bytes()), label.to_owned(), now());
    store.write(move |connection| tokens::insert(connection, digest, &label, time, time + expires)).wait()?;
    println!("{token}");
    Ok(())
}

fn list_tokens(data: &Data) -> Result<(), SinkError> {
    let tokens = Directory::open(&data.data)?.store()?.read(tokens::list)?;
    let time = now();
    let mut text = format!("{:12}  {:20}  {:20}  {:30}  LABEL\n", "TOKEN SHA-256", "CREATED", "EXPIRES", "STATE");
    for token in tokens {
        let state = match token.used {
            Some((_, gateway)) => format!("used by {}", gateway.short()),
            None if token.expires_at <= time => "expired".to_owned(),
            None => "unused".to_owned(),
        };
        let second = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let (created, expires) = (second(token.created_at), second(token.expires_at));
        let label = printable(&token.label);
        let _ = writeln!(text, "{:13}  {created:20}  {expires:20}  {state:30}  {label}", token.digest.short());
    }
    print!("{text}");
    Ok(())
}

fn promote(options: &Promote) -> Result<(), SinkError> {
    let store = Directory::open(&options.data.data)?.store()?;
    let Promote { gateway: prefix, seq, .. } = options;
    let gateway = named(&store, prefix)?;
    let (id, seq, pack, time) = (gateway.id, *seq, Pack::builtin().reference().digest, now());
    let promoted = store.write(move |connection| baselines::promote(connection, id, seq, pack, time)).wait();
    match promoted.map_err(|error: StoreError| SinkError::from(error))? {
        Some(baseline) => {
            let bundle = printable(&baseline.bundle);
            println!("run {seq} ({bundle}) is the baseline of gateway {} from now on", id.short());
            Ok(())
        }
        None => Err(SinkError::Refused(format!("gateway {} has no run {seq} here", id.short()))),
    }
}

/// Text of somebody else without what would steer the operator's terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn named(store: &Store, prefix: &str) -> Result<Gateway, SinkError> {
    match store.read(|connection| gateways::find(connection, prefix))? {
        Found::One(gateway) => Ok(*gateway),
        Found::None => Err(SinkError::Refused(format!("no gateway {prefix} is enrolled here"))),
        Found::Several => {
            let why = format!("more than one gateway begins with {prefix}; give more digits");
            Err(SinkError::Refused(why))
        }
    }
}

fn export(options: &Export) -> Result<(), SinkError> {
    let directory = Directory::open(&options.data.data)?;
    let (store, key) = (directory.store()?, directory.kept_signing_key()?);
    let gateway = named(&store, &options.gateway)?;
    let range = options.from..=options.to;
    let draft = store.read(|connection| export::collect(connection, &gateway, range, &Pack::builtin(), &key))?;
    let bundle = draft
        .write(gateway.id, Maker::Sink, now(), &key)
        .map_err(|error| SinkError::Refused(format!("gateway {}: {error}", gateway.id.short())))?;
    write_new(&options.output, &bundle)?;
    let path = options.output.display();
    println!("the runs of gateway {} are in {path} ({} bytes)", gateway.id, bundle.len());
    Ok(())
}

/// A prefix of a gateway's id: eight or more lower-case hexadecimal digits.
///
/// # Errors
/// What is wrong with it.
pub fn gateway_prefix(text: &str) -> Result<String, String> {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if digits && (8..=64).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err("a gateway is named by eight or more (up to 64) lower-case hexadecimal digits of its id".to_owned())
    }
}

/// An address to listen on. A name could stand for another address tomorrow, and plaintext is for loopback only.
fn address(text: &str) -> Result<SocketAddr, String> {
    let wrong = "not an address and a port, such as 127.0.0.1:8443, 0.0.0.0:8443 or [::]:8443; names are not looked up";
    text.parse().map_err(|_| wrong.to_owned())
}

fn expiry(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("{text:?} is not a time such as 30m, 24h or 7d");
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: i64 = text[..split].parse().map_err(|_| wrong())?;
    let seconds = match &text[split..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(wrong()),
    };
    let seconds = number.checked_mul(seconds).ok_or_else(wrong)?;
    if (1..=366 * 24 * 3600).contains(&seconds) {
        Ok(SignedDuration::from_secs(seconds))
    } else {
        Err("a token lasts at least a second and at most 366 days".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn addresses_are_numbers() {
        assert!(address("127.0.0.1:0").is_ok() && address("[::1]:8443").is_ok());
        for wrong in ["localhost:8443", "127.0.0.1", ":8443", "::1:8443", "127.0.0.1:65536"] {
            assert!(address(wrong).unwrap_err().contains("127.0.0.1:8443"), "{wrong}");
        }
    }

    #[test]
    fn expiries_are_read() {
        assert_eq!(expiry("24h"), Ok(SignedDuration::from_hours(24)));
        assert_eq!(expiry("7d"), Ok(SignedDuration::from_hours(7 * 24)));
        for wrong in ["", "24", "h", "-1h", "0s", "367d", "99999999999999999999d", "9223372036854775807d", "1é"] {
            assert!(expiry(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn prefixes_are_hexadecimal_and_not_too_short() {
        assert!(gateway_prefix("0123abcd").is_ok());
        for wrong in ["", "0123abc", "0123ABCD", "0123abcg", &"0".repeat(65), "%_______"] {
            assert!(gateway_prefix(wrong).is_err(), "{wrong}");
        }
    }
}
