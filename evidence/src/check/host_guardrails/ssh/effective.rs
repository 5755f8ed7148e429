//! What a configuration of OpenSSH comes to for a connection: the first value that is met, and `Match` (sshd_config(5)). Pure.

use std::net::IpAddr;

use super::SshDirective;

/// Who connects, as far as that is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Connection<'a> {
    /// The account.
    pub user: Option<&'a str>,
    /// The client's address.
    pub address: Option<IpAddr>,
    /// The client's name.
    pub host: Option<&'a str>,
    /// The server's address.
    pub local_address: Option<IpAddr>,
    /// The server's port.
    pub local_port: Option<u16>,
}

/// Whether a `Match` fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fits {
    No,
    Perhaps,
    Yes,
}

/// What a configuration comes to for a connection.
#[derive(Debug, Clone, Copy)]
pub struct Effective<'a> {
    directives: &'a [SshDirective],
    connection: Connection<'a>,
}

impl<'a> Effective<'a> {
    /// The configuration as `connection` meets it.
    #[must_use]
    pub fn new(directives: &'a [SshDirective], connection: Connection<'a>) -> Self {
        Self { directives, connection }
    }

    /// Every value that `keyword` (or its older name `alias`) may have for this connection, in lower case; `default` when it
    /// may be unset. Never empty.
    #[must_use]
    pub fn values(&self, keyword: &str, alias: &str, default: &str) -> Vec<String> {
        let all = || {
            self.directives.iter().filter(|directive| directive.keyword == keyword || directive.keyword == alias).map(
                |directive| {
                    let fits = directive.within_match.as_deref().map(|criteria| fits(criteria, self.connection));
                    (fits, directive)
                },
            )
        };
        let mut values = Vec::new();
        for (fits, directive) in all() {
            match fits {
                Some(Fits::Perhaps) => values.push(directive.value.to_ascii_lowercase()),
                Some(Fits::Yes) => {
                    values.push(directive.value.to_ascii_lowercase());
                    return values;
                }
                Some(Fits::No) | None => {}
            }
        }
        let outside = all().find(|(fits, _)| fits.is_none());
        values.push(outside.map_or_else(|| default.to_owned(), |(_, directive)| directive.value.to_ascii_lowercase()));
        values
    }

    /// Whether any possible value is not `no`.
    pub(super) fn not_no(&self, keyword: &str, default: &str) -> bool {
        self.values(keyword, "", default).iter().any(|value| value != "no" && value != "false")
    }

    pub(super) fn yes(&self, keyword: &str, alias: &str, default: &str) -> bool {
        self.values(keyword, alias, default).iter().any(|value| is_yes(value))
    }

    pub(super) fn largest(&self, keyword: &str, default: &str) -> u64 {
        self.values(keyword, "", default).iter().filter_map(|value| seconds(value)).max().unwrap_or(0)
    }

    /// Zero when any possible value is zero, else the largest: zero stands for "no limit".
    pub(super) fn laxest(&self, keyword: &str, default: &str) -> u64 {
        let values: Vec<_> = self.values(keyword, "", default).iter().filter_map(|value| seconds(value)).collect();
        if values.contains(&0) { 0 } else { values.into_iter().max().unwrap_or(0) }
    }
}

pub(super) fn is_yes(value: &str) -> bool {
    value == "yes" || value == "true"
}

/// sshd_config(5), TIME FORMATS; a plain number too. `none` is no limit.
fn seconds(text: &str) -> Option<u64> {
    if text == "none" {
        return Some(0);
    }
    let (mut total, mut number) = (0_u64, None::<u64>);
    for character in text.chars() {
        if let Some(digit) = character.to_digit(10) {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(u64::from(digit))?);
            continue;
        }
        let unit = match character.to_ascii_lowercase() {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    total.checked_add(number.unwrap_or(0))
}

/// Whether the criteria of a `Match` fit: all of them have to. An attribute that is not known may fit.
fn fits(criteria: &str, connection: Connection<'_>) -> Fits {
    let text = criteria.replace('=', " ");
    let mut words = text.split_ascii_whitespace();
    let mut fits = Fits::Yes;
    while let Some(attribute) = words.next() {
        let one = match attribute.to_ascii_lowercase().as_str() {
            "all" => Fits::Yes,
            "invalid-user" => Fits::Perhaps,
            "user" => name(words.next(), connection.user),
            "host" => name(words.next(), connection.host),
            "address" => address(words.next(), connection.address),
            "localaddress" => address(words.next(), connection.local_address),
            "localport" => name(words.next(), connection.local_port.map(|port| port.to_string()).as_deref()),
            _ => {
                words.next();
                Fits::Perhaps
            }
        };
        fits = fits.min(one);
    }
    fits
}

fn name(patterns: Option<&str>, name: Option<&str>) -> Fits {
    let (Some(patterns), Some(name)) = (patterns, name) else { return Fits::Perhaps };
    if lists(patterns, name) { Fits::Yes } else { Fits::No }
}

fn address(patterns: Option<&str>, address: Option<IpAddr>) -> Fits {
    let (Some(patterns), Some(address)) = (patterns, address) else { return Fits::Perhaps };
    let text = address.to_string();
    list(patterns, |pattern| match within(pattern, address) {
        Some(within) => within,
        None => wildcard(pattern.as_bytes(), text.as_bytes()),
    })
}

/// Whether a list of patterns names `name`.
pub(super) fn lists(patterns: &str, name: &str) -> bool {
    list(patterns, |pattern| wildcard(pattern.as_bytes(), name.as_bytes())) == Fits::Yes
}

/// A list of patterns: one that is negated and matches decides against, else any that matches decides for.
fn list(patterns: &str, matches: impl Fn(&str) -> bool) -> Fits {
    let mut found = Fits::No;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(negated) if matches(negated) => return Fits::No,
            None if matches(pattern) => found = Fits::Yes,
            _ => {}
        }
    }
    found
}

/// Whether the address is in `network/bits`, or is the address itself. None for other patterns.
fn within(pattern: &str, address: IpAddr) -> Option<bool> {
    let (network, bits) = match pattern.split_once('/') {
        Some((network, bits)) => (network.parse::<IpAddr>().ok()?, bits.parse::<u32>().ok()?),
        None => {
            let network = pattern.parse::<IpAddr>().ok()?;
            (network, if network.is_ipv4() { 32 } else { 128 })
        }
    };
    let shifted = |value: u128, width: u32| if bits == 0 { 0 } else { value >> width.saturating_sub(bits).min(127) };
    Some(match (network, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            shifted(u128::from(u32::from(a)), 32) == shifted(u128::from(u32::from(b)), 32)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => shifted(u128::from(a), 128) == shifted(u128::from(b), 128),
        _ => false,
    })
}

/// `*` and `?`; takes time in proportion to the product of the two lengths at worst.
fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(one) if *one == b'?' || *one == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((after, taken)) => {
                    star = Some((after, taken + 1));
                    (p, t) = (after, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_fits_as_openssh_has_it() {
        let pump = Connection {
            user: Some("pump"),
            address: "192.168.7.9".parse().ok(),
            host: Some("laptop.site"),
            local_address: "10.0.0.1".parse().ok(),
            local_port: Some(22),
        };
        for (criteria, expected) in [
            ("all", Fits::Yes),
            ("User pump", Fits::Yes),
            ("User p*,!pump", Fits::No),
            ("user=pump Address 192.168.0.0/16", Fits::Yes),
            ("Address !192.168.7.9,192.168.0.0/16", Fits::No),
            ("Address 192.168.7.?", Fits::Yes),
            ("Address fd00::/8", Fits::No),
            ("LocalPort 2222", Fits::No),
            ("Host *.site User pump", Fits::Yes),
            ("Group sudo", Fits::Perhaps),
            ("Group sudo User root", Fits::No),
        ] {
            assert_eq!(fits(criteria, pump), expected, "{criteria}");
        }
        assert_eq!(fits("User pump", Connection::default()), Fits::Perhaps);
        assert_eq!(within("0.0.0.0/0", "1.2.3.4".parse().unwrap()), Some(true));
        assert_eq!(within("::/0", "::1".parse().unwrap()), Some(true));
    }

    #[test]
    fn durations_are_in_seconds() {
        assert_eq!(
            (seconds("120"), seconds("2m"), seconds("1h30m"), seconds("0")),
            (Some(120), Some(120), Some(5400), Some(0))
        );
        assert_eq!((seconds("2x"), seconds("m"), seconds("99999999999999999999")), (None, None, None));
    }
}
